"""The content of result.json: what a run came to, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pdstudy.config.run import Run
from pdstudy.core.files import read_jsonl
from pdstudy.plan.cost import live_flops
from pdstudy.train.recorder import peak_memory_bytes
from pdstudy.workspace.run_dir import RunDir


def make_result(
    run: Run,
    directory: RunDir,
    steps: int,
    *,
    evals: list[dict[str, Any]],
    parameters: dict[str, int],
    active: int | None = None,
    forward_flops: float,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The result of a run that ended after `steps` steps; `evals` are the rows of its final evaluations.

    `active` parameters are those of a mixture of experts that a token goes through.
    `train_loss` is the mean over the last twentieth of the rows of metrics.jsonl.
    """
    rows = list(read_jsonl(directory.metrics_file))
    last = rows[-max(1, len(rows) // 20) :]
    scored = sum(row["tokens_scored"] for row in read_jsonl(directory.evals_file))
    tokens = steps * run.tokens_per_step
    spent = {purpose: round(value, 3) for purpose, value in seconds.items()}
    return {
        "steps": steps,
        "tokens": tokens,
        "evals": evals,
        "train_loss": sum(row["loss"] for row in last) / len(last) if last else None,
        "parameters": {
            **parameters,
            "total": sum(parameters.values()),
            **({} if active is None else {"active": active}),
        },
        "flops": {
            "student": 3 * forward_flops * tokens,
            "evaluation": forward_flops * scored,
            **({"teacher": live_flops(run) * tokens} if run.is_live else {}),
        },
        "seconds": spent,
        "tokens_per_second": round(tokens / spent["train"], 1) if spent["train"] else None,
        "peak_memory_bytes": peak_memory_bytes(),
        "finished": time.time(),
    }
