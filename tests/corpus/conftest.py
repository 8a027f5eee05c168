"""One small corpus for all tests here: the standard library, which needs no network."""

from pathlib import Path

import pytest
from hypothesis import settings

from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.data import BPE, Corpus, StandardLibrary

# A deadline would test how busy the machine is.
settings.register_profile("corpus", deadline=None, max_examples=60)
settings.load_profile("corpus")

STANDARD = Corpus(
    sources=(StandardLibrary(),),
    tokenizer=BPE(vocab=600, sample_bytes=500_000),
    validation=0.03,
    test=0.03,
)


@pytest.fixture(scope="session")
def standard(tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    directory: Path = tmp_path_factory.mktemp("corpus") / "standard"
    build(STANDARD, directory)
    return open_corpus(directory)
