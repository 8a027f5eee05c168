"""Pages of reports: one verdict for one pair, every metric, and the text as a sample."""

from __future__ import annotations

import hashlib
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.data.sequence_scores import load_sequences
from pdstudy.analysis.report.arm_comparison import ArmComparisons
from pdstudy.analysis.report.compared_metrics import METRICS
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import build
from pdstudy.analysis.tables.table import Table
from pdstudy.config.outputs import Compare, GainBySize
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode
from pdstudy.evaluate.metrics import SEQUENCE
from tests.analysis.made_workspace import make_workspace

SEQUENCES = 64


def three_arms(root: Path, *, keep: tuple[str, ...] = ("LM", "KD", "PD")) -> dict[str, Any]:
    """LM, KD and PD on three seeds, scored by loss and top-1; the arms of `keep` have their sums by sequence."""
    rng = np.random.default_rng(3)
    gaps = {"LM": 0.0, "KD": -0.2, "PD": -0.21}
    losses = {(arm, str(s)): 4 + gap + rng.normal(0, 0.01) for arm, gap in gaps.items() for s in range(3)}
    record = make_workspace(root, losses, {"loss": list(gaps)})
    text = {arm: rng.normal(0, 0.2, SEQUENCES) for arm in gaps}
    for cell in record["cells"]:
        folder = root / "runs" / cell["run"]
        result = json.loads((folder / "result.json").read_text())
        (row,) = result["evals"]
        arm = cell["labels"]["loss"]
        table = np.zeros(SEQUENCES, SEQUENCE)
        table["tokens"] = 50
        table["nats"] = 50 * (row["loss"] + text[arm] - text[arm].mean())
        table["hits"] = rng.integers(8, 12, SEQUENCES)
        row["accuracy"] = float(table["hits"].sum() / table["tokens"].sum())
        if arm in keep:
            content = io.BytesIO()
            np.save(content, table)
            row["sequences_sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
            (folder / "sequences").mkdir()
            (folder / "sequences" / "e.npy").write_bytes(content.getvalue())
        (folder / "result.json").write_text(json.dumps(result))
    record["outputs"] = [encode(o) for o in (Compare(), Compare(metric="accuracy"), Compare(against="KD"))]
    return record


def test_a_pair_has_one_verdict_whatever_output_shows_it(tmp_path: Path) -> None:
    found = Outputs(tmp_path, three_arms(tmp_path)).comparisons
    by_lm, by_kd = found.find("test", "loss")[0], found.find("test", "loss", "KD")[0]
    assert by_lm.family == by_kd.family == 3
    (one,) = (e for e in by_lm.effects if e.arm == "KD")
    (other,) = (e for e in by_kd.effects if e.arm == "LM")
    assert one.p == other.p
    assert (one.verdict, other.verdict) == ("better", "worse")


def test_intervals_have_the_part_of_the_text_and_captions_name_it(tmp_path: Path) -> None:
    record = three_arms(tmp_path)
    with_text = Outputs(tmp_path, record).comparisons.find("test", "loss")[0]
    without = ArmComparisons(load_runs(tmp_path, record), record).find("test", "loss")[0]
    for one, other in zip(with_text.effects, without.effects, strict=True):
        assert one.difference == pytest.approx(other.difference)
        assert one.uncertainty is not None
        assert one.uncertainty.text == pytest.approx(0.2 * np.sqrt(2 / SEQUENCES), rel=0.5)
        assert one.high - one.low > other.high - other.low
    assert "over seeds and over the text;" in with_text.caption()
    assert "over seeds alone (the text is taken as it is: no losses by sequence)" in without.caption()
    some = three_arms(tmp_path / "some", keep=("LM", "KD"))
    caption = Outputs(tmp_path / "some", some).comparisons.find("test", "loss")[0].caption()
    assert "over seeds and over the text, but over seeds alone for PD (no losses by sequence)" in caption


def test_sums_by_sequence_are_those_of_the_run(tmp_path: Path) -> None:
    record = three_arms(tmp_path)
    runs = load_runs(tmp_path, record).set_index("run")
    found = load_sequences(tmp_path, record, "test")
    assert {run: scores["loss"].mean() for run, scores in found.items()} == pytest.approx(dict(runs["test_loss"]))
    assert {run: s["accuracy"].mean() for run, s in found.items()} == pytest.approx(dict(runs["test_accuracy"]))
    assert load_sequences(tmp_path, record, "validation") == {}
    path = tmp_path / "runs" / record["cells"][0]["run"] / "sequences" / "e.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="its sha256 is not the one in result"):
        load_sequences(tmp_path, record, "test")


@pytest.mark.integration
def test_a_page_has_the_verdict_by_every_metric_that_its_runs_have(tmp_path: Path) -> None:
    record = three_arms(tmp_path)
    tables = [block for block in Outputs(tmp_path, record).compared.verdicts() if isinstance(block, Table)]
    assert [row[1] for row in tables[0].rows] == ["LM", "LM"]
    assert [row[1] for row in tables[1].rows] == ["KD", "KD"]
    assert tables[0].columns == ("arm", "baseline", "test loss (nats/token)", "test top-1 (points)")
    assert str(tables[0].rows[0][2]).startswith("better −0.2")
    assert "Uncertainty over seeds and over the text. Each metric is a family of its own, of 3" in tables[0].caption
    assert "over 2 metrics, the chance of some false verdict is up to 10 %" in tables[0].caption
    build(tmp_path, record, tmp_path / "report")
    page = html.unescape((tmp_path / "report" / "index.html").read_text())
    assert "Verdict by metric" in page
    assert "Not shown" not in page


def test_metrics_are_columns_of_runs(tmp_path: Path) -> None:
    runs = load_runs(tmp_path, record := three_arms(tmp_path))
    known = {m.column("test") for name, m in METRICS.items() if name not in ("tasks", "gold_bits")}
    assert known <= set(runs.columns)
    outputs = [encode(GainBySize())]
    assert ArmComparisons(runs, record | {"outputs": outputs}).references == [("test", None)]
    assert isinstance(ArmComparisons(runs, record).gains("test"), pd.DataFrame)


def test_text_of_other_corpora_is_a_metric(tmp_path: Path) -> None:
    record = three_arms(tmp_path)
    record["evaluations"].append({"eval": "c", "split": "code_test", "heldout": {"is": "Heldout", "corpus": {}}})
    for cell in record["cells"]:
        path = tmp_path / "runs" / cell["run"] / "result.json"
        result = json.loads(path.read_text())
        shift = {"LM": 0.0, "KD": -0.5, "PD": 0.5}[cell["labels"]["loss"]]
        (row,) = result["evals"]
        result["evals"].append(row | {"eval": "c", "split": "code_test", "loss": 6 + shift + row["loss"] / 100})
        path.write_text(json.dumps(result))
    found = Outputs(tmp_path, record).comparisons
    assert found.measured("test") == ["loss", "accuracy", "code_test_loss", "code_test_accuracy"]
    verdicts = {e.arm: e.verdict for e in found.find("test", "code_test_loss")[0].effects}
    assert verdicts == {"KD": "better", "PD": "worse"}
    assert found.find("test", "loss")[0].metric == "test loss"
    assert found.find("test", "code_test_loss")[0].metric == "code test loss"
