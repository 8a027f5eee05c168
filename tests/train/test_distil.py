"""Teacher, capture, student: distillation by the real parts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.losses import Tail, Temperature
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, Run
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.teacher.capture import capture
from pdstudy.workspace.run_dir import RunDir
from tests.train import ranks
from tests.train.one_run import train_run

TEACHER = Shape(width=64, layers=2, heads=4, query_groups=2, ffn=128, vocab=512)


@pytest.fixture(scope="module")
def distilled(small_run: Run, corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A student's run, and the store of a teacher that was trained on other text."""
    folder = tmp_path_factory.mktemp("distilled")
    teacher = dataclasses.replace(
        small_run, student=TEACHER, data=Slice(tokens=64 * 400, start=64 * 1000), steps=60, optimiser=AdamW(lr=5e-3)
    )
    directory = RunDir(folder / "teacher")
    assert train_run(teacher, directory, corpus=corpus, store=None, evaluations=()) == "done"
    run = dataclasses.replace(small_run, objective=KD(teacher=teacher, truncation=TopPK(p=0.95, k=20), alpha=0.9))
    spec = StoreSpec(corpus=run.corpus, view=run.view, split="train", teacher=teacher)
    sequences = run.view.sequences(run.data)
    capture(spec, Coverage(p=1.0, k=20), sequences, corpus=corpus, teacher=directory.model, directory=folder / "store")
    return run, folder / "store"


@pytest.mark.integration
def test_a_student_learns_from_its_teacher(
    distilled: tuple[Run, Path], corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    run, store = distilled
    directory = RunDir(tmp_path / "student")
    assert train_run(run, directory, corpus=corpus, store=store, evaluations=heldout) == "done"
    rows = list(read_jsonl(directory.metrics_file))
    assert rows[-1]["kd"] < rows[0]["kd"] - 0.3
    for row in rows:
        assert row["alpha"] == 0.9
        assert row["loss"] == pytest.approx(0.1 * row["lm"] + 0.9 * row["kd"], rel=1e-6)


def train_on_ranks(run: Run, path: Path, corpus: TokenCorpus, store: Path, placement: Placement) -> None:
    train_run(run, RunDir(path), corpus=corpus, store=store, evaluations=(), placement=placement)


@pytest.mark.integration
def test_ranks_and_micro_batches_do_not_change_distillation(
    distilled: tuple[Run, Path], corpus: TokenCorpus, tmp_path: Path
) -> None:
    run, store = distilled
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    train_run(run, one, corpus=corpus, store=store, evaluations=())
    ranks.run(2, train_on_ranks, run, two.path, corpus, store, Placement(micro_batch_tokens=128, read_ahead=2))
    for ours, theirs in zip(read_jsonl(two.metrics_file), read_jsonl(one.metrics_file), strict=True):
        for part in ("loss", "lm", "kd"):
            assert ours[part] == pytest.approx(theirs[part], rel=1e-6 if ours["step"] < 5 else 1e-4)


@pytest.mark.integration
def test_a_run_without_its_store_is_refused(distilled: tuple[Run, Path], corpus: TokenCorpus, tmp_path: Path) -> None:
    run, store = distilled
    with pytest.raises(ConfigError, match="no logit store was given"):
        train_run(run, RunDir(tmp_path / "none"), corpus=corpus, store=None, evaluations=())
    more = dataclasses.replace(run, objective=dataclasses.replace(run.objective, truncation=TopPK(p=1.0, k=21)))
    with pytest.raises(ConfigError, match="21"):
        train_run(more, RunDir(tmp_path / "none"), corpus=corpus, store=store, evaluations=())
    tempered = dataclasses.replace(run.objective, temperature=Temperature(tau=2.0), rest=Tail())
    with pytest.raises(ConfigError, match="capture with a coverage of p1-k20-t2"):
        train_run(
            dataclasses.replace(run, objective=tempered), RunDir(tmp_path / "none"), corpus=corpus, store=store,
            evaluations=(),
        )  # fmt: skip
    assert not (tmp_path / "none").exists()
    longer = dataclasses.replace(run, data=Slice(tokens=64 * 208))
    with pytest.raises(ConfigError, match="lacks sequences 200 to 207"):
        train_run(longer, RunDir(tmp_path / "none"), corpus=corpus, store=store, evaluations=())
    assert not (tmp_path / "none").exists()
