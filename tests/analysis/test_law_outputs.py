"""Declared laws on pages made of simulated runs: what is fitted, held out, predicted, and what data cannot carry."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy import ComputeOptimal, DistillationLaw, DistilOrTrain, HoldOut, IsoFlop, JointLaw, TransferCheck
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.joint_fit import joint_fit
from pdstudy.analysis.laws import HOFFMANN, laws_of
from pdstudy.analysis.report.law_outputs import LawOutputs
from pdstudy.analysis.report.page import Folded, Listing, Text
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.scaling.allocation import TableFlops
from pdstudy.analysis.scaling.isoflop_profiles import at_budgets
from pdstudy.analysis.scaling.rate_transfer import best_rates
from pdstudy.analysis.tables.table import Table
from pdstudy.config.declared_laws import LawOutput
from pdstudy.core.identity import decode, encode
from tests.analysis.coverage_of_laws import true_crossover, true_students
from tests.analysis.made_study import BUDGETS, SIZES, TRUE, ladder, make_study, taught_students

LAW = JointLaw(where={"loss": "LM"})


def make_outputs(root: Path, rows: list[dict[str, Any]], *declared: LawOutput) -> Outputs:
    return Outputs(root, make_study(root, rows, [encode(output) for output in declared]))


def texts(blocks: Sequence[Any]) -> str:
    """All text, folded text too."""
    parts = (
        texts(b.blocks) if isinstance(b, Folded) else b.text for b in blocks if isinstance(b, Folded | Text | Listing)
    )
    return "\n".join(parts)


def test_a_declared_law_survives_the_record() -> None:
    held = HoldOut(law=LAW, where={"size": ("w192", "w256")})
    assert encode(decode(encode(held))) == encode(held)
    assert encode(held)["law"] == encode(LAW)


@pytest.mark.integration
def test_the_law_of_the_runs_is_found_without_those_held_out(tmp_path: Path) -> None:
    rows = ladder(0.0, np.random.default_rng(0))
    wrong = next(row for row in rows if row["labels"]["size"] == "w256")
    right, wrong["loss"] = wrong["loss"], 9.0
    held = HoldOut(law=LAW, where={"size": "w256"})
    record = make_study(tmp_path, rows, [encode(LAW), encode(held)])
    laws = LawOutputs(record, load_runs(tmp_path, record))
    found = laws.joint(encode(LAW))
    assert len(found.fit.points) == len(rows) - 1
    assert found.fit.parameters == pytest.approx(TRUE, rel=1e-4)
    assert found.predict({"N": wrong["N"], "D": wrong["D"]})["predicted"][0] == pytest.approx(right, rel=1e-6)


@pytest.mark.integration
def test_predictions_come_before_the_runs_and_are_judged_after(tmp_path: Path) -> None:
    rows = ladder(0.003, np.random.default_rng(0))
    held, at = HoldOut(law=LAW, where={"size": "w256"}), {}
    for name in ("before", "after"):
        made = [row | ({"loss": None} if name == "before" and row["labels"]["size"] == "w256" else {}) for row in rows]
        blocks = make_outputs(tmp_path / name, made, LAW, held).blocks(encode(held))
        at[name] = (next(b for b in blocks if isinstance(b, Table)), texts(blocks))
    before, after = at["before"], at["after"]
    assert "None of the 1 held-out runs is done: these are predictions of hoffmann fitted to" in before[1]
    assert "of 1 held-out runs that are done lie in the 95 % interval" in after[1]
    shown = [dict(zip(table.columns, table.rows[0])) for table in (before[0], after[0])]
    assert [row["predicted"] for row in shown] == [shown[0]["predicted"]] * 2
    assert shown[0]["inside"] == "not known"
    assert shown[1]["inside"] == "yes"
    assert "D is" in before[1] or "N is" in before[1], "beyond the runs"


def test_what_lacks_is_said(tmp_path: Path) -> None:
    rows = [
        row | {"loss": row["loss"] if i < 4 else None} for i, row in enumerate(ladder(0.0, np.random.default_rng(0)))
    ]
    (block,) = make_outputs(tmp_path, rows, LAW).blocks(encode(LAW))
    assert isinstance(block, Text)
    assert block.text.startswith(f"Not shown: 4 of {len(rows)} runs of the law are done: 4 runs for the 5 free")


def test_runs_of_one_place_that_differ_otherwise_are_not_mixed(tmp_path: Path) -> None:
    rows = ladder(0.0, np.random.default_rng(0))
    rows += [row | {"labels": row["labels"] | {"loss": "KD"}} for row in rows]
    everything = JointLaw()
    (block,) = make_outputs(tmp_path, rows, everything).blocks(encode(everything))
    assert isinstance(block, Text)
    assert "runs that differ in loss have equal N, D and would be mixed" in block.text


@pytest.mark.integration
def test_a_law_by_another_count_of_parameters(tmp_path: Path) -> None:
    law = JointLaw(size="total", metric="bits_per_byte", law="tied")
    rows = ladder(0.0, np.random.default_rng(0))
    record = make_study(tmp_path, rows, [encode(law)])
    points = LawOutputs(record, load_runs(tmp_path, record)).joint(encode(law)).fit.points
    assert sorted(points.x["N"]) == sorted(float(row["total"]) for row in rows)
    assert sorted(points.loss) == pytest.approx(sorted(row["loss"] / 2 for row in rows))


@pytest.mark.integration
def test_the_threshold_follows_the_noise_of_the_runs() -> None:
    rows = pd.DataFrame(ladder(0.01, np.random.default_rng(1)))
    found = joint_fit(rows[["N", "D", "loss"]], resamples=0)
    assert 0.01 < found.fit.problem.delta < 0.06
    quiet = rows.assign(loss=HOFFMANN.predict(TRUE, rows))
    assert joint_fit(quiet[["N", "D", "loss"]], resamples=0).fit.problem.delta == 1e-3


def test_a_law_that_there_is_not() -> None:
    rows = pd.DataFrame(ladder(0.0, np.random.default_rng(1)))
    with pytest.raises(AnalysisError, match="no law of N and D is called 'hofmann'; there are hoffmann, tied"):
        joint_fit(rows, "hofmann")


def test_the_names_of_declared_laws_are_those_of_the_analysis() -> None:
    names = typing.get_args(typing.get_type_hints(JointLaw)["law"])
    assert names == (*(law.name for law in laws_of(("N", "D"))), "auto")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outputs, DistillationLaw]:
    """A study of a ladder and its students without noise, one student held out."""
    rows = ladder(0.0, np.random.default_rng(0), most=1e15)
    for row in rows:
        row["labels"]["teacher"] = "none"
    rows += taught_students(rows, student_loss, 0.0, np.random.default_rng(0))
    law = DistillationLaw(supervised=LAW, where={"loss": "KD"})
    held = HoldOut(law=law, where={"loss": "KD", "size": "w96", "tokens": "5.28M"})
    outputs = (LAW, IsoFlop(where={"loss": "LM"}), ComputeOptimal(law=LAW), law, held, DistilOrTrain(law=law))
    return make_outputs(tmp_path_factory.mktemp("taught"), rows, *outputs), law


def student_loss(n: float, d: float, t: float) -> float:
    return float(true_students(np.array([n]), np.array([d]), np.array([t]))["loss"].iloc[0])


def test_the_teacher_s_loss_and_size_are_columns_of_the_runs(taught: tuple[Outputs, DistillationLaw]) -> None:
    runs = taught[0].runs
    students = runs[runs["loss"] == "KD"]
    teachers = runs.set_index("run").loc[students["teacher"]]
    for name, column in (("test_loss", "test_loss"), ("non_embedding", "non_embedding"), ("tokens", "tokens")):
        assert list(students[f"teacher_{name}"]) == list(teachers[column])
    assert list(students["flops_student"]) == [
        3.0 * SIZES[s].forward_flops(256) * d for s, d in zip(students["size"], students["axis_tokens"].map(BUDGETS))
    ]


@pytest.mark.slow
def test_a_study_of_students_says_when_to_distil(taught: tuple[Outputs, DistillationLaw]) -> None:
    outputs, _ = taught
    shown = {o["is"]: outputs.blocks(o) for o in outputs.record["outputs"]}
    assert "Not shown" not in "".join(texts(blocks) for blocks in shown.values())
    held = next(b for b in shown["HoldOut"] if isinstance(b, Table))
    assert len(held.rows) == 5
    for row in held.rows:
        found = dict(zip(held.columns, row))
        assert found["error (%)"].number == pytest.approx(0.0, abs=0.02)  # type: ignore[union-attr]
    crossed = next(b for b in shown["DistilOrTrain"] if isinstance(b, Table))
    for row in crossed.rows:
        n, t, value = (cell.number for cell in row[:3])  # type: ignore[union-attr]
        if value < 3e7:
            assert value == pytest.approx(true_crossover(n, t), rel=0.02)
    exponents = next(b for b in shown["ComputeOptimal"] if isinstance(b, Table))
    law_n, profile_n = (row[1].number for row in (exponents.rows[0], exponents.rows[2]))  # type: ignore[union-attr]
    assert law_n == pytest.approx(profile_n, abs=0.15)


def test_students_whose_teacher_is_not_scored_are_not_fitted(tmp_path: Path) -> None:
    rows = ladder(0.0, np.random.default_rng(0))
    for row in rows:
        row["labels"]["teacher"] = "none"
    rows += taught_students(rows, student_loss, 0.0, np.random.default_rng(0))
    rows[rows[-1]["teacher"]]["loss"] = None
    law = DistillationLaw(supervised=LAW, where={"loss": "KD"})
    (block,) = make_outputs(tmp_path, rows, law).blocks(encode(law))
    assert isinstance(block, Text)
    assert "the loss of the teacher is not known for" in block.text


def test_losses_at_equal_compute_are_measured_or_between_two_runs() -> None:
    table = pd.DataFrame(ladder(0.0, np.random.default_rng(0)))[["N", "D", "C", "loss"]]
    found = at_budgets(table, [2e13])
    for row in found.to_dict("records"):
        mine = table[table["N"] == row["N"]]
        assert mine["C"].min() <= 2e13 * 1.1
        assert mine["C"].max() >= 2e13 / 1.1
        if not row["measured"]:
            d = 2e13 / (mine["C"] / mine["D"]).iloc[0]
            assert row["D"] == pytest.approx(d)
            assert row["loss"] == pytest.approx(float(HOFFMANN.predict(TRUE, {"N": row["N"], "D": d})[0]), rel=1e-3)


def test_budgets_that_several_sizes_share_are_found() -> None:
    grid = pd.DataFrame([(n, c / (6 * n), c) for c in (1e12, 4e12) for n in (1e4, 3e4, 1e5)], columns=["N", "D", "C"])
    found = at_budgets(grid.assign(C=grid["C"] * 1.02, loss=3.0))
    assert sorted(found["C"].unique()) == pytest.approx([1.02e12, 4.08e12])
    assert found["measured"].all()


def test_flops_beyond_the_sizes_go_on_as_the_head_does() -> None:
    n = np.array([1e5, 4e5, 1.6e6])
    cost = 6 * n + 900 * n**0.5
    found = TableFlops.measure(n, np.ones(3), cost)
    at = np.array([2e4, 2e5, 1e7])
    assert found(at) == pytest.approx(6 * at + 900 * at**0.5)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_drift_of_the_best_rate_is_found(seeds: int) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for line, drift in (("standard", -2.0), ("muP", 0.0)):
        for width in (32, 64, 128):
            best = np.log(0.011) + np.log(2) / 2 * drift * np.log2(width / 32)
            for rate in 0.001 * 2.0 ** (np.arange(14) / 2):
                noise = 1e-3 * rng.standard_normal(seeds) * (seeds > 1)
                rows += [(line, width, rate, 3 + 0.05 * (np.log(rate) - best) ** 2 + e) for e in noise]
    found = best_rates(pd.DataFrame(rows, columns=["line", "width", "rate", "loss"]))
    for row in found.frame.to_dict("records"):
        true = (-2.0 if row["line"] == "standard" else 0.0) * np.log2(row["width"] / 32)
        assert row["drift_low"] - 1e-9 <= true <= row["drift_high"] + 1e-9
        assert row["drift"] == pytest.approx(true, abs=0.5)
        assert row["low"] < row["rate"] < row["high"]
    assert found.by_seeds == (seeds > 1)


def test_the_drift_of_two_grids_reaches_from_end_to_end() -> None:
    rows = [("a", w, r, 3 + np.log(r / 4.0) ** 2) for w in (8, 16) for r in (1.0, 2.0, 4.0, 8.0, 16.0)]
    first, second = best_rates(pd.DataFrame(rows, columns=["line", "width", "rate", "loss"])).frame.to_dict("records")
    assert (first["drift_low"], first["drift"], first["drift_high"]) == (0, 0, 0)
    assert (second["low"], second["high"]) == pytest.approx((2, 8))
    # Each lies between 2 and 8: the second may be four times as large as the first or a quarter of it.
    assert (second["drift_low"], second["drift"], second["drift_high"]) == pytest.approx((-4, 0, 4), abs=1e-9)


def test_a_best_rate_at_an_end_is_none() -> None:
    found = best_rates(pd.DataFrame({"line": "a", "width": 8, "rate": [1.0, 2.0, 4.0], "loss": [3.0, 2.0, 1.0]}))
    assert found.frame["rate"].isna().all()
    assert found.frame["note"].iloc[0] == "lowest at an end of its rates, 4"


def test_transfer_is_shown_by_labels(tmp_path: Path) -> None:
    rows = [
        {"labels": {"loss": "LM", "size": size, "lr": f"{lr:g}"}, "N": 100, "total": 200, "D": 10, "C": 1.0,
         "loss": 3 + (np.log(lr / 0.01)) ** 2, "teacher": None}
        for size in ("w32", "w64") for lr in (0.004, 0.008, 0.016, 0.032)
    ]  # fmt: skip
    check = TransferCheck(rate="lr", width="size", lines="loss", split="test")
    table = next(b for b in make_outputs(tmp_path, rows, check).blocks(encode(check)) if isinstance(b, Table))
    assert [row[2].number for row in table.rows] == pytest.approx([0.01, 0.01])  # type: ignore[union-attr]
