"""A small real corpus, a small teacher and a store of its logits, made once per session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pdstudy.config.data import BPE, Corpus, View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.run import Pretrained
from pdstudy.config.text_sources import LocalFiles
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.distill.teacher.capture import capture
from tests.distill.teachers import make_teacher

CONTEXT = 32
SEQUENCES = range(3, 40)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    """The modules of the standard library's json and asyncio packages as documents."""
    import asyncio

    folder = tmp_path_factory.mktemp("text")
    for package in (asyncio, json):
        for module in Path(package.__file__).parent.glob("*.py"):
            (folder / f"{package.__name__}-{module.stem}.txt").write_text(module.read_text())
    declared = Corpus(
        sources=(LocalFiles(paths=(str(folder / "*.txt"),)),), tokenizer=BPE(vocab=400), validation=0.1, test=0.1
    )
    build(declared, folder / "built")
    return open_corpus(folder / "built")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, corpus: TokenCorpus) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    make_teacher(folder, corpus)
    return folder


@pytest.fixture(scope="session")
def spec(corpus: TokenCorpus, teacher: Path) -> StoreSpec:
    from pdstudy.core.identity import decode

    return StoreSpec(
        corpus=decode(corpus.manifest["corpus"]),
        view=View(context=CONTEXT),
        split="train",
        teacher=Pretrained(path=str(teacher)),
    )


@pytest.fixture(scope="session")
def coverage() -> Coverage:
    return Coverage(p=0.98, k=40)


@pytest.fixture(scope="session")
def store(
    tmp_path_factory: pytest.TempPathFactory, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> Path:
    """A store that no test changes."""
    directory = tmp_path_factory.mktemp("stores") / "store"
    capture(spec, coverage, SEQUENCES, corpus=corpus, teacher=teacher, directory=directory)
    return directory
