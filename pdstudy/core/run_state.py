"""The state of a run, out of what its files say: the one definition for plans, `status`, results and reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

TRAINED = ("done", "evaluate")
"""States of runs that trained to their end: "evaluate" is one that lacks an evaluation which a study wants of it."""

DAMAGED = "damaged"
"""State of a run of which a file is damaged (`pdstudy.core.run_files`): no number of it is used, and nothing of it is
made again before somebody has looked."""


def run_state(
    result: Mapping[str, Any] | None, status: Mapping[str, Any] | None, evaluations: Collection[str] = ()
) -> str:
    """State by the content of result.json and status.json (None: no such file), with the keys of wanted evaluations.

    A run has ended only where its result is there; a status that says so without it is that of a stopped run.
    """
    if result is not None:
        lacking = result["state"] == "done" and missing_evaluations(result, evaluations)
        return "evaluate" if lacking else str(result["state"])
    state = str((status or {}).get("state", "new"))
    return "stopped" if state in ("done", "diverged") else state


def missing_evaluations(result: Mapping[str, Any] | None, evaluations: Iterable[str]) -> list[str]:
    """The keys of wanted evaluations that a result does not have."""
    made = {row["eval"] for row in (result or {}).get("evals", ())}
    return [key for key in evaluations if key not in made]
