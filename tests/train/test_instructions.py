"""Finetuning reads responses alone: by gradient, by split, by step."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from pdstudy.config.data import View
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.placement import Placement
from pdstudy.config.run import LM, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED, step_sequences
from pdstudy.corpus.example_cache import load_packed
from pdstudy.corpus.examples import pack, read_examples
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients

ALONE = Ranks(torch.device("cpu"))


@pytest.fixture
def instructions(tmp_path: Path) -> Instructions:
    file = tmp_path / "examples.jsonl"
    rows = [{"prompt": f"Add {n} and 1.", "response": f"It is {n + 1}."} for n in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Instructions(sources=(LocalExamples(paths=(str(file),)),), share=1.0, validation=0.2)


def finetuning(run: Run, instructions: Instructions, documents: str = "respect") -> Run:
    return dataclasses.replace(run, instructions=instructions, view=View(context=64, documents=documents))


@pytest.mark.integration
def test_prompts_give_no_gradient(small_run: Run, corpus: TokenCorpus, instructions: Instructions) -> None:
    run = finetuning(small_run, instructions)
    model = build_model(run.student, seed=0, dtype=torch.float64)
    feed = BatchLoader(run, corpus, None, Placement(), ALONE)
    valid, _ = gradients(model, feed, ALONE, 0, LM(), 0.0, corpus.vocab)
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}

    # By hand: each example alone, its text written out, scored from the response on.
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    batch = next(BatchLoader(run, corpus, None, Placement(), ALONE).step(0)[1])[1]
    model.zero_grad()
    total, scored = torch.zeros((), dtype=torch.float64), 0
    for text in tokenizer.batch_decode(batch.inputs):
        for example in text.split("Question: ")[1:]:
            prompt, _, response = example.split("<|endoftext|>")[0].partition("\nAnswer:")
            head = f"Question: {prompt}\nAnswer:"
            made = tokenizer(head + response + "<|endoftext|>", return_offsets_mapping=True)
            ids = torch.tensor(made["input_ids"])
            learned = torch.tensor([start >= len(head) for start, _ in made["offset_mapping"]])[1:]
            logits = model(input_ids=ids[None]).logits[0, :-1, : corpus.vocab]
            total = total + cross_entropy(logits[learned], ids[1:][learned], reduction="sum")
            scored += int(learned.sum())
    assert scored == valid > 30
    (total / scored).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad - ours[name]).norm() <= 1e-9 * ours[name].norm(), name


def test_examples_that_are_too_long_are_counted_and_said(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = instructions.sources
    assert isinstance(source, LocalExamples)
    file = Path(source.paths[0])
    run = finetuning(small_run, dataclasses.replace(instructions, validation=0.001))
    assert run.instructions is not None
    before = pack(run.instructions, corpus, run.view)
    with file.open("a") as more:
        for n in range(3):
            more.write(json.dumps({"prompt": f"Count to {n + 200}.", "response": "one two three " * 60}) + "\n")
    after = pack(run.instructions, corpus, run.view)
    assert (before.left_out, after.left_out) == ({}, {"longer than the context": 3})
    assert np.array_equal(before.inputs, after.inputs)
    BatchLoader(run, corpus, None, Placement(), ALONE)
    assert "left out at a context of 64 tokens: 3 longer than the context" in capsys.readouterr().out


def test_a_text_that_names_a_special_token_is_left_out_and_counted(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions
) -> None:
    """Tokenized with the template, its name would become the end of a document."""
    (source,) = instructions.sources
    assert isinstance(source, LocalExamples)
    before = pack(instructions, corpus, small_run.view)
    rows = [
        {"prompt": "Name the end of a text.", "response": "It is <|endoftext|>, followed by nothing."},
        {"messages": [{"role": "user", "content": "<|endoftext|>"}, {"role": "assistant", "content": "Yes?"}]},
        {"prompt": "Name half of it.", "response": "It is <|endof."},
    ]
    with Path(source.paths[0]).open("a") as more:
        more.writelines(json.dumps(row) + "\n" for row in rows)
    packed = pack(instructions, corpus, small_run.view)
    assert packed.left_out == {"with a special token's name in the text": 2}
    ends = [int((each.targets == corpus.eos).sum()) for each in (before, packed)]
    assert ends[1] == ends[0] + 1, "the third example has an end, and no text has one inside"
    assert "<|endof" in "".join(AutoTokenizer.from_pretrained(corpus.tokenizer_dir).batch_decode(packed.inputs))


def test_steps_are_mixed_by_share_and_ranks_agree(
    small_run: Run, corpus: TokenCorpus, instructions: Instructions
) -> None:
    run = finetuning(small_run, dataclasses.replace(instructions, share=0.25), "cross")
    assert (run.sequences_per_step, run.text_sequences_per_step) == (8, 6)
    whole = next(BatchLoader(run, corpus, None, Placement(), ALONE).step(3)[1])[1]
    assert whole.sequences.tolist() == [-1, -1, *step_sequences(run, 3)]
    assert (whole.targets.view(8, 64)[2:] != IGNORED).all()
    worlds = [Ranks(torch.device("cpu"), rank, 2) for rank in range(2)]
    halves = [next(BatchLoader(run, corpus, None, Placement(), world).step(3)[1])[1] for world in worlds]
    assert torch.equal(torch.cat([half.inputs for half in halves]), whole.inputs)


def test_held_out_examples_are_never_trained_on(corpus: TokenCorpus, instructions: Instructions) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    sides = []
    for held_out in (False, True):
        packed = pack(instructions, corpus, View(context=64), held_out=held_out)
        text = "".join(tokenizer.batch_decode(packed.inputs))
        sides.append({part.split("\n")[0] for part in text.split("Question: ")[1:]})
        assert np.array_equal(packed.inputs, pack(instructions, corpus, View(context=64), held_out=held_out).inputs)
    assert len(sides[0]) + len(sides[1]) == 60
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[1]) > 3


def test_many_examples_are_packed_once_and_read_from_the_corpus(
    corpus: TokenCorpus, instructions: Instructions, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View(context=64)
    made = load_packed(instructions, corpus, view)
    assert not (corpus.directory / "examples").exists(), "few are not kept"
    monkeypatch.setattr("pdstudy.corpus.example_cache.LEAST_CACHED_POSITIONS", 1)
    load_packed(instructions, corpus, view)
    monkeypatch.delattr("pdstudy.corpus.example_cache.pack")
    for share in (1.0, 0.5):
        again = load_packed(dataclasses.replace(instructions, share=share), corpus, view)
        assert isinstance(again.inputs, np.memmap)
        rows = np.array([1, 0])
        ours, theirs = (vars(each.batch(View(context=64, documents="respect"), rows)) for each in (again, made))
        assert all((ours[k].dtype, ours[k].tolist()) == (theirs[k].dtype, theirs[k].tolist()) for k in theirs)
    for other in (View(context=128), view):  # another context, the other side of the split
        with pytest.raises(NameError):
            load_packed(instructions, corpus, other, held_out=other is view)
    (folder,) = (corpus.directory / "examples").iterdir()
    raw = bytearray((folder / "targets.npy").read_bytes())
    raw[-1] ^= 1
    (folder / "targets.npy").write_bytes(raw)
    with pytest.raises(ConfigError, match=r"targets.npy is damaged: its sha256.*delete .* and run again"):
        load_packed(instructions, corpus, view)
    shutil.rmtree(corpus.directory / "examples")


def test_conversations_without_text_are_left_out_and_counted(corpus: TokenCorpus, tmp_path: Path) -> None:
    """As chats have them: calls of tools, parts, pictures. Nothing is learned as "None" or as Python's repr."""
    user = {"role": "user", "content": "What?"}
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "answer."}]
    rows = [
        {"messages": [user, {"role": "assistant", "content": "Yes."}]},
        {"messages": [user, {"role": "assistant", "content": parts}]},
        {"messages": [user, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]},
        {"messages": [user, {"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [user]},
        {"messages": [user, {"role": "assistant", "content": "No."}, user, {"role": "assistant", "content": " "}]},
        {"prompt": "a", "response": None},
        {"prompt": None, "response": "b"},
        {"prompt": "a", "response": ""},
        {"prompt": "a", "response": "b"},
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    instructions = Instructions(sources=(LocalExamples(paths=(str(tmp_path / "chats.jsonl"),)),), validation=1e-9)
    packed = pack(instructions, corpus, View(context=64))
    assert packed.left_out == {
        "with a content that is null": 3, "with a content that is no text": 1, "without a response": 3,
    }  # fmt: skip
    text = AutoTokenizer.from_pretrained(corpus.tokenizer_dir).batch_decode(packed.inputs)
    assert "Answer: One answer.<|endoftext|>" in "".join(text)
    assert not any(word in "".join(text) for word in ("None", "[{"))
    assert sorted(m[-1]["content"] for m in read_examples(instructions)) == ["One answer.", "Yes.", "b"]


def test_what_is_declared(small_run: Run, instructions: Instructions, corpus: TokenCorpus, tmp_path: Path) -> None:
    assert fingerprint(finetuning(small_run, instructions)) != fingerprint(finetuning(small_run, None))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n')
    faulty = Instructions(sources=(LocalExamples(paths=(str(bad),)),))
    with pytest.raises(ConfigError, match=r"bad.jsonl:1: found KeyError 'response'; each row must be"):
        pack(faulty, corpus, View(context=64))


def test_an_example_of_exactly_one_more_token_than_the_context_is_kept(
    corpus: TokenCorpus, instructions: Instructions
) -> None:
    """Its last token is a target only."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    (source,) = instructions.sources
    assert isinstance(source, LocalExamples)
    text = "Question: Count.\nAnswer: one two three four five six seven eight nine ten<|endoftext|>"
    size = len(tokenizer(text)["input_ids"])
    row = {"prompt": "Count.", "response": "one two three four five six seven eight nine ten"}
    short = {"prompt": "a", "response": "b"}
    Path(source.paths[0]).write_text(json.dumps(row) + "\n" + json.dumps(short) + "\n")
    alone = dataclasses.replace(instructions, validation=1e-9)
    exact, less = (pack(alone, corpus, View(context=context)) for context in (size - 1, size - 2))
    assert (exact.left_out, less.left_out) == ({}, {"longer than the context": 1})
    (full,) = (i for i in range(len(exact)) if exact.targets[i, -1] == corpus.eos)
    assert tokenizer.decode([*exact.inputs[full], exact.targets[full, -1]]) == text


def test_examples_that_together_fill_a_sequence_share_it(corpus: TokenCorpus, instructions: Instructions) -> None:
    """And the numbers of examples never fall within a sequence, its unscored rest included."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_dir)
    (source,) = instructions.sources
    assert isinstance(source, LocalExamples)
    pairs = [("a", "one"), ("b", "one")]
    Path(source.paths[0]).write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    sizes = [len(tokenizer(f"Question: {p}\nAnswer: {r}<|endoftext|>")["input_ids"]) - 1 for p, r in pairs]
    alone = dataclasses.replace(instructions, validation=1e-9)
    for context, rows in ((sum(sizes), 1), (sum(sizes) - 1, 2)):
        packed = pack(alone, corpus, View(context=context))
        assert len(packed) == rows
        assert (np.diff(packed.examples, axis=1) >= 0).all()
        assert [len(set(row)) for row in packed.examples.tolist()] == [2] * rows
