"""What a page says first: the answer in sentences, the settings, and a row of the index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pdstudy import Compare, PaperTable
from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.report.answer import answer, say_comparison
from pdstudy.analysis.report.index_page import build_index, shorten
from pdstudy.analysis.report.settings import settings_table
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import make_workspace, shown_rows, two_arms


def made_comparison(gains: dict[str, float], sizes: tuple[str, ...] = ()) -> Comparison:
    rng = np.random.default_rng(0)
    noise = {seed: rng.normal(0, 0.1) for seed in range(5)}
    rows = []
    for size in sizes or ("",):
        for arm, gain in {"LM": 0.0, **gains}.items():
            turned = -gain if size == "long" else gain
            for seed, shared in noise.items():
                value = 4 + shared - turned + rng.normal(0, 0.004)
                rows.append({"size": size, "arm": arm, "seed": seed, "loss": value})
    within = ["size"] if sizes else []
    return compare(pd.DataFrame(rows), metric="loss", baseline="LM", within=within, lower_is_better=True)


def test_an_arm_that_is_better_everywhere_is_said_in_one_sentence() -> None:
    said = say_comparison(made_comparison({"KD": 0.2}, ("short", "middle")), "nats/token")
    assert said.startswith("KD is better than LM at all 2 levels of size, by 0.")
    assert "outer intervals within" in said


def test_an_arm_that_is_worse_somewhere_is_news() -> None:
    said = say_comparison(made_comparison({"KD": 0.2}, ("short", "long")), "nats/token")
    assert said.startswith("KD is worse than LM at long, by 0.")
    assert " and better than LM at short, by 0." in said


def test_many_arms_are_counted_and_the_largest_named() -> None:
    gains = {f"a{i}": 0.1 * i for i in range(7)} | {"bad": -0.3}
    said = say_comparison(made_comparison(gains), "nats/token")
    assert said.startswith("Worse than LM: 1 of 8 arms: bad, by 0.3")
    assert "better than LM: 6 of 8 arms: a6, a5, a4, a3 and 2 more, by 0." in said
    assert "within noise of LM: 1 of 8 arms: a0" in said
    assert shorten(made_comparison(gains)).startswith("6 better −0.6")


def test_a_page_answers_by_metric_and_shows_its_settings(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    record["outputs"] = [encode(Compare())]
    for cell in record["cells"]:
        run = {"is": "Run", "objective": {"is": cell["labels"]["loss"]}, "optimiser": {"is": "AdamW", "lr": 0.004},
               "tokens_per_step": 1024, "seed": cell["seed"]}  # fmt: skip
        (tmp_path / "runs" / cell["run"] / "config.json").write_text(json.dumps({"run": run}))
    outputs = Outputs(tmp_path, record)
    (said,) = answer(outputs.comparisons)
    assert said.lead == "Test loss:"
    assert said.text.startswith("KD is better than LM at all 4 levels of size, by 0.0")
    rows = {row[0]: row[1:] for row in shown_rows(settings_table(tmp_path, record, load_runs(tmp_path, record)))}
    assert rows["objective"] == ["LM, KD", "loss"]
    assert rows["learning rate, peak"] == ["0.004", ""]
    assert rows["batch, tokens"] == ["1,024", ""]
    assert rows["student, non-embedding parameters"] == ["2k, 5k, 10k, 21k", "size"]
    assert rows["seeds"] == ["0, 1, 2", ""]


def test_settings_wait_for_a_run(tmp_path: Path) -> None:
    record = two_arms(tmp_path)
    assert settings_table(tmp_path, record, load_runs(tmp_path, record)) is None


@pytest.mark.parametrize(("gain", "said"), [(0.2, "by loss 1 agree"), (-0.2, "by loss 1 disagree")])
def test_the_index_has_effect_paper_and_agreement(tmp_path: Path, gain: float, said: str) -> None:
    rng = np.random.default_rng(1)
    losses = {(arm, str(s)): 3 - gain * (arm == "KD") + rng.normal(0, 0.01) for arm in ("LM", "KD") for s in range(3)}
    record = make_workspace(tmp_path, losses, {"loss": ["LM", "KD"]})
    rows = (("LM", "LLM-LM"), ("KD", "LLM-KD"))
    record["outputs"] = [encode(Compare()), encode(PaperTable(table="1", pairs=rows))]
    page = build_index("Made", [Outputs(tmp_path, record)], tmp_path / "out").read_text()
    assert '<a href="made/index.html">made</a>' in page
    assert said in page
    assert "+1.6 %" in page
    assert "6 of 6" in page
