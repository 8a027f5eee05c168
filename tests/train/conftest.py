"""A small real corpus (a few modules of the standard library), and a small run on it."""

from __future__ import annotations

import ast
import asyncio
import calendar
import collections
import contextlib
import csv
import decimal
import dis
import email.message
import inspect
import json
from pathlib import Path

import pytest
import torch

from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.instructions import Instructions, LocalExamples
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.run import Run
from pdstudy.config.text_sources import LocalFiles
from pdstudy.corpus import TokenCorpus, build, open_corpus

SHAPE = Shape(width=32, layers=2, heads=4, query_groups=2, ffn=64, vocab=512)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def declared_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Paragraphs of some modules as documents, so that a sequence holds several."""
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    library = Path(json.__file__).parent.parent
    with file.open("w") as out:
        for module in sorted(library.glob("[a-d]*.py")):
            for text in module.read_text(errors="ignore").split("\n\n"):
                out.write(json.dumps({"text": text}) + "\n")
    return Corpus(
        sources=(LocalFiles(paths=(str(file),)),),
        tokenizer=BPE(vocab=500, sample_bytes=300_000),
        validation=0.05,
        test=0.05,
    )


@pytest.fixture(scope="session")
def corpus(declared_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    directory = tmp_path_factory.mktemp("corpus") / "texts"
    build(declared_corpus, directory)
    return open_corpus(directory)


@pytest.fixture(scope="session")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Instructions:
    """What classes and functions of the standard library are, by the first line of their documentation."""
    file = tmp_path_factory.mktemp("examples") / "definitions.jsonl"
    with file.open("w") as out:
        for module in (ast, asyncio, calendar, collections, contextlib, csv, decimal, dis, email.message, inspect):
            for name, thing in inspect.getmembers(module, callable):
                if (text := inspect.getdoc(thing)) and not name.startswith("_"):
                    prompt = f"Define {module.__name__}.{name}."
                    out.write(json.dumps({"prompt": prompt, "response": text.partition("\n")[0]}) + "\n")
    return Instructions(sources=(LocalExamples(paths=(str(file),)),), validation=0.2)


@pytest.fixture(scope="session")
def small_run(declared_corpus: Corpus) -> Run:
    """24 steps of 512 tokens; the vocabulary has 12 rows of padding."""
    return Run(
        student=SHAPE,
        corpus=declared_corpus,
        data=Slice(tokens=64 * 200),
        view=View(context=64),
        optimiser=AdamW(lr=5e-3),
        schedule=Cosine(warmup_tokens=2048),
        tokens_per_step=512,
        steps=24,
    )


@pytest.fixture(scope="session")
def heldout() -> tuple[Heldout, ...]:
    return (
        Heldout(data=Slice(tokens=64 * 20, split="validation"), every_tokens=4096),
        Heldout(data=Slice(tokens=64 * 20, split="test")),
    )
