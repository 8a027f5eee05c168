"""Calling pdstudy as a user does, and reading what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PDSTUDY = [sys.executable, "-m", "pdstudy.cli"]


def call(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(folder / "workspace"), **more}
    return subprocess.run(
        [*PDSTUDY, *words], cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=300
    )


def metrics(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Loss and gradient norm of every step of every run: what two equal computations share to the bit."""
    found = {}
    for path in sorted((folder / "workspace" / "runs").glob("*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.parent.name] = [{k: r[k] for k in ("step", "loss", "grad_norm")} for r in rows]
    return found


def results(folder: Path) -> dict[str, list[float]]:
    """Final losses of every finished run."""
    paths = sorted((folder / "workspace" / "runs").glob("*/result.json"))
    return {p.parent.name: [e["loss"] for e in json.loads(p.read_text())["evals"]] for p in paths}
