"""Loss on held-out responses: by hand, over an interrupted finetuning, and as what finetuning is for."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.evaluation import HeldoutResponses
from pdstudy.config.instructions import Definitions, Instructions, LocalExamples
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run, Start
from pdstudy.config.text_sources import Packaged
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.examples import pack, read_examples
from pdstudy.evaluate.heldout import evaluate, evaluate_export
from pdstudy.evaluate.heldout_data import held_out
from pdstudy.models.build_model import build_model
from pdstudy.workspace.run_dir import RunDir
from tests.train import ranks
from tests.train.one_run import train_run
from tests.train.test_survival import OFTEN, assert_same, ends, rows_of, wait_for

VIEW = View(context=64)


def held_out_texts(instructions: Instructions, corpus: TokenCorpus) -> list[tuple[str, str]]:
    """(prompt, response) of the examples that the held-out side has, found by the text of their tokens."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    packed = pack(instructions, corpus, VIEW, held_out=True)
    whole = "".join(tokenizer.batch_decode(packed.inputs))
    pairs = [(m[0]["content"], m[1]["content"]) for m in read_examples(instructions)]
    return [(prompt, response) for prompt, response in dict.fromkeys(pairs) if f"Question: {prompt}\n" in whole]


def test_the_loss_is_that_of_each_response_alone(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions
) -> None:
    model = build_model(small_run.student, seed=3)
    evaluation = HeldoutResponses(instructions=instructions, tokens=10**6)
    rows = [
        evaluate(model, held_out(evaluation, View(context=64, documents=documents), corpus), batch_tokens=64 * 7)
        for documents in ("cross", "respect")
    ]
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    nats, tokens, num_bytes = 0.0, 0, 0
    model.double()
    for prompt, response in held_out_texts(instructions, corpus):
        head = f"Question: {prompt}\nAnswer:"
        made = tokenizer(f"{head} {response}<|endoftext|>", return_offsets_mapping=True)
        ids = torch.tensor(made["input_ids"])
        learned = torch.tensor([start >= len(head) for start, _ in made["offset_mapping"]])[1:]
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1, : corpus.vocab]
        nats += float(cross_entropy(logits[learned], ids[1:][learned], reduction="sum"))
        tokens += int(learned.sum())
        num_bytes += len(f" {response}".encode())
    assert tokens > 500
    for row in rows:
        assert (row["split"], row["tokens_scored"]) == ("responses", tokens)
        assert row["loss"] == pytest.approx(nats / tokens, rel=1e-6)
        assert row["bits_per_byte"] == pytest.approx(nats / np.log(2) / num_bytes, rel=1e-6)


@pytest.mark.integration
def test_tokens_bound_what_is_read_and_a_finished_run_is_scored_later(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions, tmp_path: Path
) -> None:
    few, more = (HeldoutResponses(instructions=instructions, tokens=64 * n) for n in (2, 5))
    directory = RunDir(tmp_path / "run")
    run = dataclasses.replace(small_run, steps=3)
    train_run(run, directory, corpus=corpus, store=None, evaluations=(few,))
    evaluate_export(run, directory, corpus=corpus, evaluations=(more,), progress=lambda what, share: None)
    one, other = directory.result()["evals"]
    assert 0 < one["tokens_scored"] < other["tokens_scored"]
    assert not directory.missing_evaluations((few, more))


def tune(run: Run, path: Path, corpus: Path, start: Path, evaluations: Any, placement: Placement) -> None:
    state = train_run(
        run, RunDir(path), corpus=open_corpus(corpus), store=None, evaluations=evaluations, placement=placement,
        start=start,
    )  # fmt: skip
    assert state == "done"


@pytest.mark.slow
def test_a_killed_finetuning_ends_bit_identical(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions, tmp_path: Path
) -> None:
    first = RunDir(tmp_path / "first")
    train_run(small_run, first, corpus=corpus, store=None, evaluations=())
    run = dataclasses.replace(
        small_run, start=Start(model=small_run), instructions=instructions, steps=40,
        view=dataclasses.replace(small_run.view, documents="respect"),
    )  # fmt: skip
    evaluations = (HeldoutResponses(instructions=instructions, tokens=640, every_tokens=5 * 512),)
    undisturbed, killed = RunDir(tmp_path / "undisturbed"), RunDir(tmp_path / "killed")
    shared = (corpus.directory, first.model, evaluations)
    ranks.run(1, tune, run, undisturbed.path, *shared, Placement(micro_batch_tokens=128))
    for _ in range(2):
        before = rows_of(killed)
        (process,) = ranks.start(1, tune, run, killed.path, *shared, OFTEN)
        wait_for(lambda before=before: rows_of(killed) > before + 4 or killed.result())
        process.kill()
        process.join()
        assert killed.result() is None
    ranks.run(1, tune, run, killed.path, *shared, OFTEN)
    assert killed.result()["attempts"] == 3
    assert_same(ends(killed), ends(undisturbed))


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Instructions:
    """Some thousand definitions of a dictionary."""
    file = tmp_path_factory.mktemp("dictionary") / "definitions.jsonl"
    with file.open("w") as out:
        for messages in itertools.islice(read_examples(Instructions(sources=(Definitions(name="dictionary"),))), 6000):
            out.write(json.dumps({"messages": messages}) + "\n")
    return Instructions(sources=(LocalExamples(paths=(str(file),)),))


@pytest.mark.slow
def test_finetuning_lowers_the_loss_of_responses_that_it_never_saw(dictionary: Instructions, tmp_path: Path) -> None:
    """Of a dictionary, after pre-training on an encyclopaedia; as much more of the encyclopaedia does little."""
    step, steps, more = 1024, 150, 40
    encyclopaedia = Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=1024))
    build(encyclopaedia, tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    scored = (HeldoutResponses(instructions=dictionary, tokens=10_000),)
    pretraining = Run(
        student=Shape(width=48, layers=2, heads=3, query_groups=3, ffn=128, vocab=1024), corpus=encyclopaedia,
        data=Slice(tokens=steps * step), view=View(context=128), optimiser=AdamW(lr=6e-3),
        schedule=Cosine(warmup_tokens=15 * step), tokens_per_step=step, steps=steps,
    )  # fmt: skip
    gains = []
    for seed in range(3):
        first = dataclasses.replace(pretraining, seed=seed)
        text = dataclasses.replace(
            first, start=Start(model=first), data=Slice(start=steps * step, tokens=more * step), steps=more,
            optimiser=AdamW(lr=2e-3), schedule=Cosine(warmup_tokens=4 * step),
        )  # fmt: skip
        tuned = dataclasses.replace(text, instructions=dictionary, view=View(context=128, documents="respect"))
        losses = []
        for run in (first, text, tuned):
            directory = RunDir(tmp_path / f"{len(losses)}-{seed}")
            begun = None if run is first else RunDir(tmp_path / f"0-{seed}").model
            train_run(run, directory, corpus=corpus, store=None, evaluations=scored, start=begun)
            losses.append(directory.result()["evals"][0]["loss"])
        gains.append([losses[0] - losses[1], losses[0] - losses[2]])
    text, tuned = np.transpose(gains)
    assert min(tuned) > 0.2
    assert min(tuned) > 10 * np.std(tuned, ddof=1)
    assert min(tuned - text) > 0.5 * max(tuned)
