"""Scores of a run's final held-out evaluations by sequence of the text, which is a sample too."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.analysis.data.runs import final_evaluations, heldout
from pdstudy.analysis.data.study_record import Record
from pdstudy.core.errors import ConfigError
from pdstudy.core.run_files import SEQUENCES, whole_run_file

FIELDS = {"loss": "nats", "recalibrated": "recalibrated", "accuracy": "hits", "accuracy_top5": "hits_top5"}
"""Scores that are means over tokens, each with its field of the stored table; calibration has no share by sequence."""

SequenceScores = Mapping[str, npt.NDArray[np.float64]]
"""By name of `FIELDS`: [sequences], whose mean is the run's score."""


def load_sequences(workspace: Path, record: Record, split: str) -> dict[str, SequenceScores]:
    """Scores by sequence of the study's runs, by run, of the evaluation that `load_runs` reports of this split.

    A run that kept none (they are kept since 2026-11-27) is left out. Raises `ConfigError` for a file that is damaged.
    """
    found: dict[str, SequenceScores] = {}
    for run in dict.fromkeys(cell["run"] for cell in record["cells"]):
        folder = workspace / "runs" / run
        rows = final_evaluations(whole_run_file(folder, "result.json") or {}, heldout(record))
        row: dict[str, Any] = next((e for e in reversed(rows) if e["split"] == split), {})
        path = folder / SEQUENCES / f"{row.get('eval')}.npy"
        if "sequences_sha256" in row and path.exists():
            found[run] = _read(path, row["sequences_sha256"])
    return found


def _read(path: Path, digest: str) -> SequenceScores:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ConfigError(
            f"{path} is damaged: its sha256 is not the one in result.json; restore it, or delete it: intervals then "
            "leave out that the text is a sample"
        )
    table = np.load(io.BytesIO(content), allow_pickle=False)
    per = table["tokens"].mean()
    return {name: table[field].astype(np.float64) / per for name, field in FIELDS.items()}
