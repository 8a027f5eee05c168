"""One small corpus for all tests here: some of the standard library, which needs no network."""

import json
from pathlib import Path

import pytest
from hypothesis import settings

from pdstudy.config.data import BPE, Corpus
from pdstudy.config.text_sources import LocalFiles, StandardLibrary
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.sources import documents

# A deadline would test how busy the machine is.
settings.register_profile("corpus", deadline=None, max_examples=60)
settings.load_profile("corpus")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Some hundred modules of the standard library, 2 MB."""
    found = [text for _, text in documents(StandardLibrary()) if 0 < len(text) < 30_000]
    return found[:: len(found) // 200]


@pytest.fixture(scope="session")
def declared(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path: Path = tmp_path_factory.mktemp("text") / "modules.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Corpus(
        sources=(LocalFiles(paths=(str(path),)),),
        tokenizer=BPE(vocab=600, sample_bytes=500_000),
        validation=0.1,
        test=0.1,
    )


@pytest.fixture(scope="session")
def standard(declared: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    directory: Path = tmp_path_factory.mktemp("corpus") / "standard"
    build(declared, directory)
    return open_corpus(directory)
