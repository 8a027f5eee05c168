"""Answers to downstream tasks: loaded, compared over items and over seeds, and shown."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.compare.comparison import Verdict
from pdstudy.analysis.compare.items import ItemEffect, accuracy_effect, bits_effect, mean_effect, sign_flip
from pdstudy.analysis.data.runs import answer_summary, arm_summary, load_runs
from pdstudy.analysis.data.task_answers import Items
from pdstudy.analysis.report.arm_comparison import compare_arms
from pdstudy.analysis.report.downstream_section import ACCURACY, BITS, Suite, task_blocks
from pdstudy.analysis.report.study_page import build
from tests.analysis.made_workspace import make_workspace

ITEMS = 40


def items(correct: Any, bits: Any = None) -> Items:
    n = len(correct)
    names = tuple(("t", i) for i in range(n))
    bits = np.full(n, np.nan) if bits is None else np.asarray(bits, dtype=float)
    return Items(names, np.asarray(correct), bits, np.full(n, 4.0), np.full(n, 2))


@pytest.mark.parametrize(("ours", "theirs"), [(9, 3), (5, 5), (0, 6), (1, 0)])
def test_for_one_seed_the_test_is_mcnemars(ours: int, theirs: int) -> None:
    differences = np.array([1] * ours + [-1] * theirs + [0] * 20)
    expected = stats.binomtest(ours, ours + theirs, 0.5).pvalue
    assert sign_flip(differences) == pytest.approx(expected)


def test_turned_signs_of_several_seeds_are_counted_in_full() -> None:
    differences = np.array([3, 1, 2, -1, 2, 0, 1, 3, -2])
    sums = [sum(s * d for s, d in zip(signs, differences)) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.abs(sums) >= abs(differences.sum()))
    assert sign_flip(differences) == pytest.approx(expected)
    assert sign_flip(np.zeros(5, dtype=int)) == 1


def test_the_interval_over_items_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        base = rng.random(400)
        pairs = [
            (items(base + rng.normal(0, 0.2, 400) < 0.6), items(base + rng.normal(0, 0.2, 400) < 0.5)) for _ in "ab"
        ]
        effect = accuracy_effect(
            *zip(*[(items(a.correct.astype(int)), items(b.correct.astype(int))) for a, b in pairs])
        )
        inside.append(effect.low < 0.1 * 0.94 < effect.high)  # noise of 0.2 moves some beyond the ends
    assert 0.9 < np.mean(inside) < 0.99


def test_bits_per_byte_are_ratios_of_sums() -> None:
    ours, theirs = items([1, 0, 1], [4.0, 6.0, 8.0]), items([1, 0, 1], [5.0, 8.0, 8.0])
    effect = bits_effect([ours], [theirs])
    assert effect.difference == pytest.approx(18 / 12 - 21 / 12)
    assert effect.p == pytest.approx(stats.ttest_rel([4, 6, 8], [5, 8, 8]).pvalue)
    same = accuracy_effect([ours], [theirs])
    assert same.same
    assert mean_effect([effect, effect]).error == pytest.approx(effect.error / 2**0.5)


def answered_study(root: Path, tasks: tuple[str, ...] = ("piqa", "lambada"), better: float = 0.3) -> dict[str, Any]:
    """A study whose KD models answer a share `better` more of PIQA right, of which the harder items are the same."""
    losses = {(arm, str(seed)): 3.0 for arm in ("LM", "KD") for seed in (0, 1, 2)}
    record = make_workspace(root, losses, {"loss": ["LM", "KD"]})
    record["downstream"] = [{"limit": ITEMS}]
    rng = np.random.default_rng(1)
    hard = {task: rng.random(ITEMS) for task in tasks}
    for cell in record["cells"]:
        cell["downstream"] = []
        for tokens in (100, 200):
            key = f"{cell['run']}-{tokens}/q"
            cell["downstream"].append(
                {"suite": 0, "key": key, "step": tokens // 100, "tokens": tokens, "final": tokens == 200}
            )
            share = 0.5 + (better if cell["labels"]["loss"] == "KD" and tokens == 200 else 0.0)
            rows, summaries = [], {}
            for task in tasks:
                right = hard[task] + rng.normal(0, 0.02, ITEMS) < (share if task == "piqa" else 0.5)
                for doc, correct in enumerate(right):
                    scored = {
                        "gold": 0,
                        "bits": 8.0 - 2 * share,
                        "bytes": 4,
                        "loglikelihoods": [-1.0] * (2 if task == "piqa" else 1),
                    }
                    rows.append({"task": task, "part": task, "doc": doc, "correct": float(correct),
                                 "correct_norm": float(correct), **scored})  # fmt: skip
                summaries[task] = {"items": ITEMS, "metric": "acc_norm" if task == "piqa" else "acc",
                                   "value": float(right.mean()), "bits_per_byte": 2.0 - share / 2}  # fmt: skip
            folder = root / "downstream" / key
            folder.mkdir(parents=True)
            (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (folder / "results.json").write_text(json.dumps({"tasks": summaries}))
    return record


def test_runs_have_their_tasks(tmp_path: Path) -> None:
    runs = load_runs(tmp_path, answered_study(tmp_path))
    kd = runs[runs["loss"] == "KD"]
    assert (kd["tasks.mean"] == (kd["tasks.piqa"] + kd["tasks.lambada"]) / 2).all()
    assert kd["tasks.mean.bits_per_byte"].tolist() == pytest.approx([1.6] * 3)
    shown = arm_summary(runs)
    means = runs.groupby("loss", sort=False)["tasks.piqa"].mean()
    assert shown["mean bits per byte"].tolist() == ["1.750", "1.600"]
    by_task = answer_summary(runs)
    assert by_task["piqa"].tolist() == [f"{100 * means['LM']:.1f}", "1.750", f"{100 * means['KD']:.1f}", "1.600"]


@pytest.mark.integration
def test_tables_of_tasks(tmp_path: Path) -> None:
    record = answered_study(tmp_path)
    build(tmp_path, record, tmp_path / "report")
    tables = tmp_path / "report" / "tables"
    values = pd.read_csv(tables / "1-downstream-tasks.csv")
    assert list(values.columns) == ["loss", "tokens", "seeds", "piqa", "lambada", "average", "Δ (%)"]
    assert values["loss"].tolist() == ["LM", "LM", "KD", "KD", "guessing"]
    assert values["piqa"].iloc[-1] == 50
    assert values["lambada"].iloc[-1] == 0
    assert values["Δ (%)"][3] == pytest.approx(100 * (values["average"][3] / values["average"][1] - 1))
    over_items = pd.read_csv(tables / "1-downstream-tasks-2.csv").set_index("minus LM")
    runs = load_runs(tmp_path, record).groupby("loss")["tasks.piqa"].mean()
    assert over_items.loc["KD", "piqa"] == pytest.approx(100 * (runs["KD"] - runs["LM"]))
    text = (tables / "1-downstream-tasks-2.md").read_text()
    assert "†" not in text.split("|")[-5], text
    assert (tmp_path / "report" / "data" / "answers.csv").exists()
    label = rf"\label{{tab:{record['study']}-1-downstream-tasks}}"  # no other study's table has it
    assert label in (tables / "1-downstream-tasks.tex").read_text()
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Not shown" not in page
    assert list((tmp_path / "report" / "figures").glob("1-downstream-tasks-*.pdf"))


def test_more_accuracy_is_better_and_fewer_bits_are(tmp_path: Path) -> None:
    record = answered_study(tmp_path)
    suite = Suite(tmp_path, record, load(tmp_path, record), ITEMS)
    for measure, sign in ((ACCURACY, 1), (BITS, -1)):
        (effect,) = suite.comparison(measure).effects
        assert np.sign(effect.difference) == sign
        assert effect.verdict in (Verdict.BETTER, Verdict.NO_SPREAD)
        assert suite.comparison(measure).lower_is_better is (measure is BITS)
    runs = load_runs(tmp_path, record)
    accuracy = runs["loss"].map({"LM": 0.4, "KD": 0.5}) + runs["seed"] * runs["loss"].map({"LM": 0.001, "KD": 0.002})
    (effect,) = compare_arms(runs.assign(test_accuracy=accuracy), record, "test", "accuracy")[0].effects
    assert effect.verdict is Verdict.BETTER


@pytest.mark.integration
def test_noise_over_items_is_marked(tmp_path: Path) -> None:
    record = answered_study(tmp_path, better=0.0)
    (suite,) = [Suite(tmp_path, record, load(tmp_path, record), ITEMS)]
    for measure in (ACCURACY, BITS):
        row = suite.over_items(measure).rows[0]
        assert all(cell.noise or cell.text == "same answers" for cell in row[1:] if not isinstance(cell, str))


def load(root: Path, record: dict[str, Any]) -> pd.DataFrame:
    from pdstudy.analysis.data.task_answers import load_answers

    return load_answers(root, record, suite=0)


def test_models_not_yet_evaluated_are_counted(tmp_path: Path) -> None:
    record = answered_study(tmp_path)
    for cell in record["cells"]:
        if cell["labels"]["loss"] == "LM":
            (tmp_path / "downstream" / cell["downstream"][1]["key"] / "results.json").unlink()
    blocks = task_blocks(tmp_path, record)
    texts = [block.text for block in blocks if hasattr(block, "text")]
    assert texts[0] == "9 of 12 models have been evaluated so far."
    assert texts[1].startswith("Not shown: no arm shares a seed with its baseline")
    assert "tasks.piqa" in load_runs(tmp_path, record).columns


@pytest.mark.parametrize("torn", ["", '{"tasks": {"pi', "[]", '{"results": {}}'])
def test_damaged_answers_are_the_trouble_of_their_model_alone(torn: str, tmp_path: Path) -> None:
    """Their model counts as not evaluated: one torn file used to stop every table of the study."""
    record = answered_study(tmp_path)
    before = load_runs(tmp_path, record)
    cell = record["cells"][0]
    (tmp_path / "downstream" / cell["downstream"][1]["key"] / "results.json").write_text(torn)
    texts = [block.text for block in task_blocks(tmp_path, record) if hasattr(block, "text")]
    assert texts[0] == "11 of 12 models have been evaluated so far."
    after = load_runs(tmp_path, record)
    assert after["tasks.piqa"].isna().tolist() == [True] + [False] * (len(after) - 1)
    assert after["tasks.piqa"].tolist()[1:] == before["tasks.piqa"].tolist()[1:]


def test_models_evaluated_on_other_items_are_not_compared(tmp_path: Path) -> None:
    record = answered_study(tmp_path)
    path = tmp_path / "downstream" / record["cells"][0]["downstream"][1]["key"] / "items.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    texts = [block.text for block in task_blocks(tmp_path, record) if hasattr(block, "text")]
    assert "piqa of KD and LM, seed 0: the two models were evaluated on different items" in texts[0]


def test_studies_that_ask_nothing_have_no_section(tmp_path: Path) -> None:
    record = make_workspace(tmp_path, {("LM", "0"): 3.0}, {"loss": ["LM"]})
    assert task_blocks(tmp_path, record) == []
    assert not [c for c in load_runs(tmp_path, record) if str(c).startswith("tasks")]


def test_the_interval_over_few_items_is_students() -> None:
    ours, theirs = [4.0, 6.0, 8.0, 5.0, 7.0], [5.0, 8.0, 8.0, 7.0, 7.5]
    effect = bits_effect([items([1] * 5, ours)], [items([1] * 5, theirs)])
    expected = stats.ttest_1samp((np.array(ours) - np.array(theirs)) / 4, 0).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_the_mean_over_tasks_is_tested_on_both_sides() -> None:
    for sign in (1, -1):
        edge = ItemEffect(9, sign * 1.959964, 1.0, np.nan, np.nan, np.nan, same=False)
        found = mean_effect([edge])
        assert found.p == pytest.approx(0.05, abs=1e-6)
        assert min(abs(found.low), abs(found.high)) == pytest.approx(0, abs=1e-6)
