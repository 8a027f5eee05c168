"""A study's record and finished runs made by hand: any axes, seeds and losses, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pdstudy.analysis.tables.table import Table


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
        "evaluations": [{"eval": "e", "split": "test", "heldout": {"is": "Heldout"}}],
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


def shown_rows(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]
