"""Documents begin and end with the tokens that are declared, and prompts with the same."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from pdstudy.config.data import BPE, Corpus, PretrainedTokenizer, View
from pdstudy.config.downstream import OFFLINE_SUITE, Downstream
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.text_sources import LocalFiles
from pdstudy.core.identity import canonical, fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.examples import pack
from pdstudy.launch.work_order import TasksJob, make_work
from pdstudy.plan.artifact import AnswersArtifact
from pdstudy.plan.preflight import unused_bos
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.corpus.pretrained import write_tokenizer

TEXTS = [f"the cat number {n} sat on the mat, </s> and the hat" for n in range(60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("texts")
    (root / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    write_tokenizer(root / "tokenizer", TEXTS)
    return root


def declare(folder: Path, **ends: str) -> Corpus:
    return Corpus(
        sources=(LocalFiles(paths=(str(folder / "texts.jsonl"),)),),
        tokenizer=PretrainedTokenizer(path=str(folder / "tokenizer"), **ends), validation=0.2, test=0.2,
    )  # fmt: skip


def built(corpus: Corpus, directory: Path) -> TokenCorpus:
    build(corpus, directory)
    return open_corpus(directory)


def documents(corpus: TokenCorpus) -> list[list[int]]:
    stream = corpus.stream("train")
    starts = [*stream.document_starts(0, len(stream)).tolist(), len(stream)]
    return [stream.tokens(a, b).tolist() for a, b in itertools.pairwise(starts)]


def test_documents_have_the_declared_ends(folder: Path, tmp_path: Path) -> None:
    plain = built(declare(folder), tmp_path / "plain")
    ended = built(declare(folder, bos="<s>", eos="<|other|>"), tmp_path / "ended")
    assert (plain.bos, plain.eos, ended.bos, ended.eos) == (None, 1, 0, 2)
    for one, other in zip(documents(plain), documents(ended), strict=True):
        assert other == [0, *one[:-1], 2]
        assert one[-1] == 1
        assert not {0, 1, 2} & set(one[:-1])  # "</s>" in a text is text
    facts = ended.manifest["splits"]["train"]
    assert facts["token_bytes"] == facts["bytes"] == plain.manifest["splits"]["train"]["token_bytes"]
    # What transformers reads of the corpus's tokenizer, and so of a model's folder, agrees.
    tokenizer = AutoTokenizer.from_pretrained(ended.tokenizer_dir)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "<|other|>")
    assert tokenizer.encode("the cat")[0] == 0


def test_ends_are_part_of_what_a_corpus_is_and_neutral_by_default(folder: Path) -> None:
    tokenizers = [declare(folder, **ends).tokenizer for ends in ({}, {"bos": "<s>"}, {"eos": "<|other|>"})]
    assert len({fingerprint(each) for each in tokenizers}) == 3
    assert "bos" not in canonical(tokenizers[0])
    # Ids stand for the same tokens: weights may go on from one to the other.
    assert len({fingerprint(declare(folder, **ends).ids) for ends in ({}, {"bos": "<s>"})}) == 1


@pytest.mark.parametrize(("ends", "found"), [({"bos": "<S>"}, "'<S>'"), ({"eos": "a"}, "'a'")])
def test_ends_that_a_text_may_hold_are_refused(folder: Path, ends: dict[str, str], found: str) -> None:
    (problem,) = problems(declare(folder, **ends))
    assert str(problem).startswith(f"tokenizer.{next(iter(ends))}: found {found}; allowed: None, or a special token")
    assert "'<s>', '</s>', '<|other|>'" in str(problem)


def test_a_bos_that_is_not_used_is_said(folder: Path, tmp_path: Path) -> None:
    problem = unused_bos(declare(folder))
    assert str(problem).startswith("corpus.tokenizer.bos: found None; allowed: '<s>', with which the tokenizer begins")
    assert unused_bos(declare(folder, bos="<s>")) is None
    assert unused_bos(Corpus(sources=(), tokenizer=BPE())) is None
    for config in ({"bos_token": None}, {"bos_token": "</s>"}):  # Qwen's, GPT-2's
        path = write_tokenizer(tmp_path / str(config), TEXTS, **config)
        assert unused_bos(Corpus(sources=(), tokenizer=PretrainedTokenizer(path=path))) is None


def test_examples_of_instructions_begin_with_it(folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"what sat {n}?", "response": f"cat {n}"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    instructions = Instructions(sources=(LocalExamples(paths=(str(tmp_path / "rows.jsonl"),)),))
    plain, ended = (
        pack(instructions, built(declare(folder, **ends), tmp_path / str(ends)), View(context=128))
        for ends in ({}, {"bos": "<s>"})
    )
    begins = [packed.inputs[0][np.flatnonzero(np.diff(packed.examples[0], prepend=-1))] for packed in (plain, ended)]
    assert (begins[1][:-1] == 0).all()
    assert not (begins[0] == 0).any()
    assert sum((p.targets >= 0).sum() for p in (plain,)) == (ended.targets >= 0).sum()


@pytest.mark.parametrize("ends", [{}, {"bos": "<s>"}])
def test_tasks_are_asked_with_the_bos_of_the_corpus(folder: Path, tmp_path: Path, ends: dict[str, str]) -> None:
    run = dataclasses.replace(make_run(), corpus=declare(folder, **ends))
    tasks = Downstream(tasks=OFFLINE_SUITE)
    artifact = AnswersArtifact(key="x", label="x", done=False, state="new", downstream=tasks, run=run, step=None)
    job = make_work(artifact, None, Workspace(tmp_path))  # type: ignore[arg-type]
    assert isinstance(job, TasksJob)
    assert job.bos == ends.get("bos")
