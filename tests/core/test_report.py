"""Reports from hand-made run directories: axes named like our own columns, sweeps, and what data cannot carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import load_evaluations, load_runs, summary
from analysis.report import Report, build
from pdstudy import Compare, Cost, Curves, SizeLaw, Sweep
from pdstudy.normal import encode


def make_workspace(root: Path, losses: dict[tuple[str, ...], float], axes: dict[str, list[str]]) -> dict[str, Any]:
    """A record with a finished run per cell of `losses` (labels and seed to test loss)."""
    cells = []
    for number, (key, loss) in enumerate(losses.items()):
        labels, seed = dict(zip(axes, key[:-1])), int(key[-1])
        name = ",".join([f"{k}={v}" for k, v in labels.items()] + [f"seed={seed}"])
        run = f"{number:016x}"
        folder = root / "runs" / run
        folder.mkdir(parents=True)
        rows = [
            {
                "eval": "e",
                "split": "test",
                "loss": value,
                "bits_per_byte": 2.0,
                "step": step,
                "tokens": 100 * step,
                "final": f,
            }
            for step, value, f in ((1, loss + 1, False), (2, loss, True))
        ]
        (folder / "evals.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        size = 1000 * (1 + int(labels.get("size", "1")))
        result = {
            "state": "done",
            "steps": 2,
            "tokens": 200,
            "evals": rows[1:],
            "train_loss": loss,
            "parameters": {"non_embedding": size, "total": 2 * size},
            "flops": {"student": 1e9, "evaluation": 1e8},
            "seconds": {"train": 2.0, "evaluate": 1.0},
            "tokens_per_second": 100.0,
            "peak_memory_bytes": 1,
            "attempts": 1,
            "finished": 0.0,
        }
        (folder / "result.json").write_text(json.dumps(result))
        planned = {"flops": 1.1e9, "non_embedding": size, "total": 2 * size, "tokens": 200}
        cells.append({"name": name, "labels": labels, "seed": seed, "run": run, "planned": planned, "teacher": None})
    return {
        "study": "made",
        "title": "Made",
        "about": "",
        "seeds": [0, 1, 2],
        "axes": axes,
        "baseline": {"loss": "LM"},
        "cells": cells,
        "teachers": [],
        "stores": [],
        "corpora": [],
        "outputs": [],
        "rate": 1e9,
        "rate_source": "assumed",
        "evaluations": [{"eval": "e", "split": "test"}],
    }


def two_arms(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    losses = {
        (arm, size, str(seed)): 3 + 1 / (1 + int(size)) - 0.1 * (arm == "KD") + rng.normal(0, 0.01)
        for size in ("1", "4", "9", "20")
        for arm in ("LM", "KD")
        for seed in (0, 1, 2)
    }
    return make_workspace(root, losses, {"loss": ["LM", "KD"], "size": ["1", "4", "9", "20"]})


def test_axes_named_like_metrics_do_not_collide(tmp_path: Path) -> None:
    losses = {(t, s): float(i) for i, (t, s) in enumerate([("short", "0"), ("long", "0")])}
    record = make_workspace(tmp_path, losses, {"tokens": ["short", "long"]})
    runs, evaluations = load_runs(tmp_path, record), load_evaluations(tmp_path, record)
    assert list(runs["axis_tokens"]) == ["short", "long"]
    assert list(runs["tokens"]) == [200, 200]
    assert list(evaluations["axis_tokens"]) == ["short", "short", "long", "long"]
    assert list(evaluations["tokens"]) == [100, 200, 100, 200]
    assert "±" not in summary(runs)["test loss"].iloc[0]


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
    comparison, left_out = Report(tmp_path, two_arms(tmp_path)).comparison("test")
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
