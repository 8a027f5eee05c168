"""A study's record and run folders made from a table of runs, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pdstudy import Shape
from pdstudy.analysis.laws import HOFFMANN

TRUE = {"E": 2.47, "A": 21.65, "B": 115.9, "alpha": 0.35, "beta": 0.345}
"""Hoffmann's law of the simulated studies."""

SIZES = {
    f"w{w}": Shape(width=w, layers=4, heads=w // 16, query_groups=w // 16, ffn=3 * w, vocab=2048)
    for w in (32, 48, 64, 96, 128, 192, 256)
}
"""Models of the ladder."""

BUDGETS = {f"{0.66 * 2**k:.3g}M": int(0.66e6 * 2**k) for k in range(6)}
"""Tokens of the ladder's branches."""


def ladder(noise: float, rng: np.random.Generator, *, most: float = 4e14) -> list[dict[str, Any]]:
    """LM runs of all sizes and budgets with at least two tokens per parameter and at most so many FLOPs."""
    rows = []
    for size, shape in SIZES.items():
        n = shape.parameters().non_embedding
        for label, d in BUDGETS.items():
            flops = 3.0 * shape.forward_flops(256) * d
            if d >= 2 * n and flops <= most:
                loss = float(HOFFMANN.predict(TRUE, {"N": n, "D": d})[0] * np.exp(noise * rng.standard_normal()))
                total = shape.parameters().total
                rows.append({"labels": {"loss": "LM", "size": size, "tokens": label}, "N": n, "total": total, "D": d,
                             "C": flops, "loss": loss, "teacher": None})  # fmt: skip
    return rows


def make_study(root: Path, rows: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A record with a run per row, finished where its `loss` is a number. Teachers are runs, by their place."""
    axes: dict[str, list[str]] = {}
    cells = []
    for number, row in enumerate(rows):
        for axis, label in row["labels"].items():
            axes.setdefault(axis, []).append(label)
        run, sizes = f"{number:016x}", {"non_embedding": row["N"], "total": row["total"]}
        folder = root / "runs" / run
        folder.mkdir(parents=True)
        if row["loss"] is not None:
            each = {"eval": "e", "split": "test", "loss": row["loss"], "bits_per_byte": row["loss"] / 2, "step": 9,
                    "tokens": row["D"], "final": True}  # fmt: skip
            (folder / "evals.jsonl").write_text(json.dumps(each) + "\n")
            result = {"state": "done", "steps": 9, "tokens": row["D"], "evals": [each], "train_loss": row["loss"],
                      "parameters": sizes, "flops": {"student": row["C"], "evaluation": 1.0},
                      "seconds": {"train": 1.0, "evaluate": 1.0}, "tokens_per_second": 1.0, "peak_memory_bytes": 1,
                      "attempts": 1, "finished": 0.0}  # fmt: skip
            (folder / "result.json").write_text(json.dumps(result))
        teacher = None if row["teacher"] is None else f"{row['teacher']:016x}"
        cells.append({"name": ",".join(row["labels"].values()), "labels": row["labels"], "seed": 0, "run": run,
                      "planned": {**sizes, "tokens": row["D"], "flops": row["C"]}, "teacher": teacher})  # fmt: skip
    taught = {cell["teacher"] for cell in cells if cell["teacher"]}
    return {
        "study": "made", "title": "Made", "about": "", "seeds": [0],
        "axes": {axis: list(dict.fromkeys(labels)) for axis, labels in axes.items()}, "baseline": {"loss": "LM"},
        "cells": cells, "teachers": [{"run": run, "name": run, "planned": {"flops": 1.0}} for run in sorted(taught)],
        "stores": [], "corpora": [], "outputs": list(outputs), "rate": 1e9, "rate_source": "assumed",
        "evaluations": [{"eval": "e", "split": "test", "heldout": {"is": "Heldout"}}],
    }  # fmt: skip


def taught_students(
    runs: Sequence[dict[str, Any]], loss: Callable[[float, float, float], float], noise: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Students of four sizes and four budgets under five runs of the ladder, whose losses are their teachers'.

    `loss` gives that of a student of N parameters, D tokens and a teacher's loss, without noise.
    """
    shorter = list(BUDGETS)[:4]
    teachers = np.linspace(len(runs) // 3, len(runs) - 1, 5).round().astype(int)
    rows = []
    for teacher in teachers:
        of = runs[teacher]["labels"]
        for run in runs:
            if run["labels"]["size"] in ("w32", "w48", "w64", "w96") and run["labels"]["tokens"] in shorter:
                labels = {**run["labels"], "loss": "KD", "teacher": f"{of['size']} {of['tokens']}"}
                value = loss(run["N"], run["D"], runs[teacher]["loss"]) * np.exp(noise * rng.standard_normal())
                rows.append(run | {"labels": labels, "loss": float(value), "teacher": int(teacher)})
    return rows
