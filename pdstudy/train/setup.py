"""The inputs of a run, opened and checked against each other before anything is trained."""

from __future__ import annotations

from pathlib import Path

from pdstudy.config.logits import StoreSpec, required_coverage
from pdstudy.config.run import KD, Run
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.store.store import StoreReader, open_store
from pdstudy.distill.teacher.live import LiveTeacher
from pdstudy.models.distributed import Ranks
from pdstudy.models.parallelize import shard_frozen


def check_corpus(run: Run, corpus: TokenCorpus) -> None:
    """Raise `ConfigError` where the corpus is too short, or the vocabulary too small."""
    if run.student.vocab < corpus.vocab:
        raise ConfigError(f"student.vocab: found {run.student.vocab}; allowed: at least the tokenizer's {corpus.vocab}")
    length = len(corpus.stream(run.data.split))
    if run.data.stop + 1 > length:
        raise ConfigError(
            f"data: found {run.data.split} [{run.data.start}, {run.data.stop}); allowed: at most {length - 1} "
            f"predictions, which is what the corpus's {run.data.split} split holds"
        )


def open_run_store(run: Run, store: Path | None, corpus: TokenCorpus) -> StoreReader | None:
    """The store that the run distils from, None where it has no teacher or a live one.

    Raises `ConfigError`: see `open_store`.
    """
    teacher = run.teacher
    if teacher is None or run.is_live:
        return None
    assert isinstance(run.objective, KD)
    if store is None:
        raise ConfigError("the run distils from a teacher, but no logit store was given")
    return open_store(
        store,
        spec=StoreSpec(corpus=run.corpus, view=run.view, split=run.data.split, teacher=teacher),
        corpus=corpus,
        wanted=required_coverage(run.objective),
        sequences=run.view.sequences(run.data),
    )


def start_folder(run: Run, folder: Path | None) -> Path | None:
    """The folder whose weights the run starts from. Raises `ConfigError` where it wants one and none was given."""
    if run.start is None:
        return None
    if folder is None:
        raise ConfigError("the run starts from another model's weights, but no model folder was given")
    return folder


def load_live_teacher(run: Run, folder: Path | None, corpus: TokenCorpus, ranks: Ranks) -> LiveTeacher | None:
    """The teacher that reads each batch in the step, its trunk sharded over the ranks as it is loaded.

    Raises `ConfigError`: see `LiveTeacher`.
    """
    if not run.is_live:
        return None
    if folder is None:
        raise ConfigError("the run distils from a live teacher, but no model folder was given")
    return LiveTeacher(folder, run, corpus, lambda model: shard_frozen(model, ranks, head=False))
