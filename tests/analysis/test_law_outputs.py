"""Declared laws on pages made of simulated runs: what is fitted, held out, predicted, and what data cannot carry."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy import HoldOut, JointLaw
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.fit.joint_fit import joint_fit
from pdstudy.analysis.laws import HOFFMANN, laws_of
from pdstudy.analysis.report.law_outputs import LawOutputs
from pdstudy.analysis.report.page import Listing, Text
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import Table
from pdstudy.config.declared_laws import LawOutput
from pdstudy.core.identity import decode, encode
from tests.analysis.made_study import TRUE, ladder, make_study

LAW = JointLaw(where={"loss": "LM"})


def make_outputs(root: Path, rows: list[dict[str, Any]], *declared: LawOutput) -> Outputs:
    return Outputs(root, make_study(root, rows, [encode(output) for output in declared]))


def texts(blocks: list[Any]) -> str:
    return "\n".join(b.text for b in blocks if isinstance(b, Text | Listing))


def test_a_declared_law_survives_the_record() -> None:
    held = HoldOut(law=LAW, where={"size": ("w192", "w256")})
    assert encode(decode(encode(held))) == encode(held)
    assert encode(held)["law"] == encode(LAW)


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


def test_a_law_by_another_count_of_parameters(tmp_path: Path) -> None:
    law = JointLaw(size="total", metric="bits_per_byte", law="tied")
    rows = ladder(0.0, np.random.default_rng(0))
    record = make_study(tmp_path, rows, [encode(law)])
    points = LawOutputs(record, load_runs(tmp_path, record)).joint(encode(law)).fit.points
    assert sorted(points.x["N"]) == sorted(float(row["total"]) for row in rows)
    assert sorted(points.loss) == pytest.approx(sorted(row["loss"] / 2 for row in rows))


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
