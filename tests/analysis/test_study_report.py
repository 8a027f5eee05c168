"""Reports from hand-made run directories: axes named like our own columns, sweeps, and what data cannot carry."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy import BesidePaper, Compare, Cost, Curves, GainBySize, LossByTokens, SizeLaw, Sweep
from pdstudy.analysis.data.runs import arm_summary, load_evaluations, load_runs
from pdstudy.analysis.data.study_record import axis_column
from pdstudy.analysis.report.arm_comparison import ArmComparisons, compare_arms
from pdstudy.analysis.report.captions import tau_convention
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import _warn_of_temperatures, build
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.planned_and_spent import cost_table
from pdstudy.analysis.tables.table import TableCell
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import make_workspace, two_arms


def test_a_recalibration_that_stopped_at_an_end_is_named(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    assert _warn_of_temperatures(Outputs(tmp_path, record)) == ""
    file = tmp_path / "runs" / record["cells"][3]["run"] / "result.json"
    result = json.loads(file.read_text())
    result["evals"][0]["temperature_at_end"] = True
    file.write_text(json.dumps(result))
    said = _warn_of_temperatures(Outputs(tmp_path, record))
    assert said.endswith(f"1/4 to 4: {record['cells'][3]['name']}.")


def test_captions_say_what_a_temperature_divides(tmp_path: Path) -> None:
    at = "config.objective.temperature"
    runs = pd.DataFrame({f"{at}.is": [np.nan, "Temperature", "Temperature"], f"{at}.tau": [np.nan, 1.0, 2.0],
                         f"{at}.both": [np.nan, False, False], f"{at}.squared": [np.nan, False, False]})  # fmt: skip
    assert tau_convention(runs) == "Temperature (tau): logits of the teacher alone are divided by it."
    assert tau_convention(runs[:2]) == tau_convention(runs[["config.objective.temperature.both"]]) == ""
    adaptive = pd.DataFrame({f"{at}.is": ["WTTM", "Adaptive"], f"{at}.tau": [2.0, 1.0]})
    assert tau_convention(adaptive) == "", "its rule is the arm's name, and it has no sides"
    both = runs.assign(**{f"{at}.both": True, f"{at}.squared": True})
    assert tau_convention(both).endswith("teacher and student are divided by it, the loss multiplied by tau squared.")


def test_axes_named_like_metrics_do_not_collide(tmp_path: Path) -> None:
    losses = {(t, s): float(i) for i, (t, s) in enumerate([("short", "0"), ("long", "0")])}
    record = make_workspace(tmp_path, losses, {"tokens": ["short", "long"]})
    runs, evaluations = load_runs(tmp_path, record), load_evaluations(tmp_path, record)
    assert list(runs["axis_tokens"]) == ["short", "long"]
    assert list(runs["tokens"]) == [200, 200]
    assert list(evaluations["axis_tokens"]) == ["short", "short", "long", "long"]
    assert list(evaluations["tokens"]) == [100, 200, 100, 200]
    shown = arm_summary(runs)
    assert shown.columns[0] == "tokens", "readers are shown the axis's own name"
    assert "±" not in shown["test loss"].iloc[0]


@pytest.mark.parametrize("axis", ["config.seed", "tasks.mine", "tasks2.mean", "test_accuracy_top5"])
def test_an_axis_may_be_called_like_any_column_of_a_table_of_runs(axis: str, tmp_path: Path) -> None:
    record = make_workspace(tmp_path, {("short", "0"): 1.0, ("long", "0"): 2.0}, {axis: ["short", "long"]})
    runs = load_runs(tmp_path, record)
    assert list(runs[f"axis_{axis}"]) == ["short", "long"]
    assert [c for c in runs if axis_column(c) == c] == [f"axis_{axis}"]
    assert arm_summary(runs).columns[0] == axis


@pytest.mark.integration
def test_every_output_draws(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    record["outputs"] = [
        encode(o)
        for o in (
            Curves(lines="loss", panels="size", split="test"),
            SizeLaw(lines="loss"),
            Compare(),
            Sweep(x="size", lines="loss", split="test"),
            Cost(),
        )
    ]
    build(tmp_path, record, tmp_path / "report")
    names = {p.name for p in (tmp_path / "report" / "figures").glob("*.png")}
    assert names == {
        "1-learning-curves.png",
        "2-loss-against-student-size.png",
        "3-differences-from-the-baseline.png",
        "4-sweep.png",
    }
    curves = pd.read_csv(tmp_path / "report" / "figures" / "1-learning-curves.csv")
    assert set(curves["arm"]) == {"LM", "KD"}
    assert len(curves) == 2 * 4 * 2
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Not shown" not in page
    assert "Partial results" not in page


def test_the_comparison_finds_the_planted_difference(tmp_path: Path) -> None:
    comparison, left_out = compare_arms(load_runs(tmp_path, record := two_arms(tmp_path)), record, "test")
    assert left_out == ""
    assert len(comparison.effects) == 4
    for effect in comparison.effects:
        assert effect.low < -0.1 < effect.high


def test_what_the_data_cannot_carry_is_said(tmp_path: Path) -> None:
    record = make_workspace(
        tmp_path, {("LM", "1", "0"): 3.0, ("KD", "4", "1"): 2.9}, {"loss": ["LM", "KD"], "size": ["1", "4"]}
    )
    record["outputs"] = [encode(o) for o in (SizeLaw(lines="loss"), Compare())]
    build(tmp_path, record, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "No law was fitted" in page
    assert "Not shown: no arm shares a finished seed with its baseline yet" in page


@pytest.mark.slow
def test_axes_may_be_called_as_they_like(tmp_path: Path) -> None:
    for number, name in enumerate(("kd_loss", "test loss", "runs", "p", "seeds", "mean", "flops_x")):
        root = tmp_path / str(number)
        losses = {(arm, s): 3.0 + i for i, arm in enumerate(("LM", "KD")) for s in ("0", "1")}
        record = make_workspace(root, losses, {name: ["LM", "KD"]})
        record |= {
            "baseline": {name: "LM"},
            "outputs": [encode(o) for o in (Curves(lines=name, split="test"), Compare())],
        }
        text = build(root, record, root / "report")
        assert "LM" in text
        assert "KD" in text
        effects = compare_arms(load_runs(root, record), record, "test")[0].to_frame()
        assert list(effects["difference"]) == [1.0]


def test_an_evaluation_of_another_study_is_not_ours(tmp_path: Path) -> None:
    losses = {(arm, s): 3.0 for arm in ("LM", "KD") for s in ("0", "1")}
    record = make_workspace(tmp_path, losses, {"loss": ["LM", "KD"]})
    path = tmp_path / "runs" / record["cells"][0]["run"] / "result.json"
    result = json.loads(path.read_text())
    result["evals"].append(result["evals"][0] | {"eval": "of another study", "loss": 9.0})
    path.write_text(json.dumps(result))
    assert set(load_runs(tmp_path, record)["test_loss"]) == {3.0}


def page_of(root: Path, record: dict[str, Any], *outputs: Any) -> str:
    record["outputs"] = [encode(o) for o in outputs]
    build(root, record, root / "report")
    return html.unescape((root / "report" / "index.html").read_text())


def test_runs_that_an_output_cannot_tell_apart_are_not_mixed(tmp_path: Path) -> None:
    outputs = (Curves(lines="loss", split="test"), Sweep(x="loss", lines="loss", split="test"))
    page = page_of(tmp_path, two_arms(tmp_path), *outputs)
    assert page.count("Not shown: runs that differ in size would be mixed") == 2
    losses = {(a, w, "0"): 3.0 for a in ("LM", "KD") for w in ("x", "y")}
    record = make_workspace(tmp_path / "b", losses, {"loss": ["LM", "KD"], "wd": ["x", "y"]})
    assert "Not shown: runs that differ in wd would be mixed" in page_of(tmp_path / "b", record, SizeLaw(lines="loss"))


@pytest.mark.integration
def test_a_sweep_over_names_or_through_zero(tmp_path: Path) -> None:
    losses = {(arm, x, s): 3.0 for arm in ("LM", "KD") for x in ("0", "0.5", "1") for s in ("0", "1")}
    record = make_workspace(tmp_path, losses, {"loss": ["LM", "KD"], "alpha": ["0", "0.5", "1"]})
    outputs = (Sweep(x="alpha", lines="loss", split="test"), Sweep(x="loss", lines="alpha", split="test"))
    page = page_of(tmp_path, record, *outputs)
    assert "a sweep is over an axis whose labels are numbers; loss has 'LM', 'KD'" in page
    assert "Sweep: alpha, loss" in page, "outputs of one kind and title are named apart"
    table = pd.read_csv(tmp_path / "report" / "tables" / "1-sweep-alpha-loss-1.csv")
    assert list(table.columns[:2]) == ["loss", "best alpha"]


@pytest.mark.integration
def test_budgets_are_drawn_at_the_tokens_of_their_runs(tmp_path: Path) -> None:
    losses = {(arm, b, s): 3.0 - len(b) for arm in ("LM", "KD") for b in ("short", "longer") for s in ("0", "1")}
    record = make_workspace(tmp_path, losses, {"loss": ["LM", "KD"], "budget": ["short", "longer"]})
    for cell in record["cells"]:
        path = tmp_path / "runs" / cell["run"] / "result.json"
        tokens = {"short": 200, "longer": 400}[cell["labels"]["budget"]]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tokens": tokens}))
    assert "Not shown" not in page_of(tmp_path, record, LossByTokens(lines="loss"))
    drawn = pd.read_csv(tmp_path / "report" / "figures" / "1-loss-against-tokens.csv")
    assert list(zip(drawn["tokens"], drawn["mean"])) == 2 * [(200, -2), (400, -3)]


def test_lines_without_a_point_of_all_seeds_are_not_drawn(tmp_path: Path) -> None:
    record = make_workspace(tmp_path, {("LM", "1", "0"): 3.0, ("LM", "2", "1"): 3.0}, {"loss": ["LM"], "x": ["1", "2"]})
    assert "no point has been reached by all" in page_of(tmp_path, record, Sweep(x="x", lines="loss", split="test"))


def test_costs_of_what_has_run_are_not_held_against_what_has_not(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    shutil.rmtree(tmp_path / "runs" / record["cells"][0]["run"])
    page_of(tmp_path, record, Cost())
    table = pd.read_csv(tmp_path / "report" / "tables" / "1-cost-planned-and-actual.csv").set_index("stage")
    assert np.isnan(table["actual/planned"]["LM 1 (3 runs)"])
    assert np.isnan(table["actual/planned"]["all"])
    assert np.isclose(table["actual/planned"]["all that have run"], 3.0 / 1.1)


@pytest.mark.integration
def test_diverged_runs_are_named_where_they_are_missing(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    for cell in record["cells"]:
        if cell["labels"]["size"] == "4" and cell["labels"]["loss"] == "KD":
            path = tmp_path / "runs" / cell["run"] / "result.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "diverged", "evals": []}))
    page = page_of(tmp_path, record, Compare())
    assert page.count("Diverged, and so in no mean and no comparison: loss=KD,size=4,seed=0") == 2
    assert "Left out: 4." in page


def test_one_run_of_two_cells_is_counted_once(tmp_path: Path) -> None:
    record = make_workspace(tmp_path, {("LM", "0"): 3.0, ("KD0", "0"): 3.0}, {"loss": ["LM", "KD0"]})
    record["cells"][1]["run"] = record["cells"][0]["run"]
    assert "1 runs for 2 combinations of arm and seed, 1 seed: 1 done." in page_of(tmp_path, record, Compare())


def test_a_probe_s_loss_is_not_the_reported_one(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    before = load_runs(tmp_path, record)
    record["evaluations"].append({"eval": "p", "split": "test", "heldout": {"is": "Probe"}})
    for cell in record["cells"]:
        path = tmp_path / "runs" / cell["run"] / "result.json"
        result = json.loads(path.read_text())
        result["evals"].append({"eval": "p", "split": "test", "loss": 99.0, "kl": 0.5, "final": True})
        path.write_text(json.dumps(result))
    after = load_runs(tmp_path, record)
    assert (after["test_loss"] == before["test_loss"]).all()
    assert (after["kl"] == 0.5).all()


@pytest.mark.integration
def test_gains_and_the_paper_s_table_at_their_edges(tmp_path: Path) -> None:
    """Nothing finished, one seed, no arm but the baseline, no axis of sizes, labels and rows that are not there."""
    by_size, beside = encode(GainBySize()), encode(BesidePaper(axis="loss", table="5", pairs=(("LM", "no such row"),)))
    nothing = two_arms(tmp_path / "nothing") | {"outputs": [by_size, beside]}
    shutil.rmtree(tmp_path / "nothing" / "runs")
    losses = {("LM", size, "0"): 3.0 for size in ("1", "4")}
    axes = {"loss": ["LM", "KD"], "size": ["1", "4"]}
    one_arm = make_workspace(tmp_path / "one_arm", losses, axes) | {"outputs": [by_size, beside]}
    both = losses | {("KD", size, "0"): 2.9 for size in ("1", "4")}
    one_seed = make_workspace(tmp_path / "one_seed", both, axes) | {"outputs": [by_size, beside]}
    no_size = make_workspace(tmp_path / "no_size", {("LM", "0"): 3.0, ("KD", "0"): 2.9}, {"loss": ["LM", "KD"]})
    no_size |= {"outputs": [by_size, encode(BesidePaper(axis="loss", table="99", pairs=()))], "baseline": {}}
    found = {}
    for name, record in {"nothing": nothing, "one_arm": one_arm, "one_seed": one_seed, "no_size": no_size}.items():
        try:
            build(tmp_path / name, record, tmp_path / name / "report")
        except Exception as error:
            raise AssertionError(name) from error
        found[name] = html.unescape((tmp_path / name / "report" / "index.html").read_text())
    assert "no arm shares a finished seed" in found["nothing"]
    assert "no arm shares a finished seed" in found["one_arm"]
    assert "no row of the paper's table 5 is named for the baseline" in found["one_seed"]
    assert "no table '99' of the paper is kept" in found["no_size"]


def test_what_is_rounded_to_zero_has_no_sign() -> None:
    assert [fixed(-0.004, 2), fixed(-0.0, 2), fixed(0.004, 2, signed=True)] == ["0.00", "0.00", "0.00"]
    assert [fixed(-0.006, 2), fixed(0.006, 2, signed=True), fixed(float("nan"), 2)] == ["−0.01", "+0.01", "–"]


def test_gains_are_turned_with_their_intervals(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    gains = ArmComparisons(load_runs(tmp_path, record), record).gains("test")
    assert len(gains) == 4
    assert (gains["low"] < gains["difference"]).all()
    assert (gains["difference"] < gains["high"]).all()
    assert ((gains["low"] < 0.1) & (gains["high"] > 0.1)).all()  # a loss that is 0.1 lower is a gain


def test_a_run_that_cells_share_is_paid_for_once(tmp_path: Path) -> None:
    record = make_workspace(tmp_path, {("LM", "0"): 3.0, ("KD0", "0"): 3.0}, {"loss": ["LM", "KD0"]})
    record["cells"][1]["run"] = record["cells"][0]["run"]
    table = cost_table(tmp_path, record, load_runs(tmp_path, record))
    (whole,) = (row for row in table.rows if row[0] == "all")
    assert [cell.number for cell in whole[1:4] if isinstance(cell, TableCell)] == pytest.approx([1.1e9, 1.1, 3.0])
