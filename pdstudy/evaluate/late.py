"""Held-out losses that a finished run lacks, because another study asks for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pdstudy.config import Run
from pdstudy.corpus import TokenCorpus
from pdstudy.evaluate.heldout import evaluate
from pdstudy.evaluate.probes import compared
from pdstudy.evaluate.texts import held_out
from pdstudy.evaluations import Evaluation
from pdstudy.files import write_json
from pdstudy.rundir import RunDir
from pdstudy.train.model import load_exported
from pdstudy.train.world import World, own_device


def evaluate_export(
    run: Run,
    directory: RunDir,
    *,
    corpus: TokenCorpus,
    evaluations: tuple[Evaluation, ...],
    teachers: Mapping[str, Path] = MappingProxyType({}),
    progress: Callable[[str, float], None],
) -> None:
    """Score the exported model on `evaluations` and add the rows to evals.jsonl and, atomically, to result.json.

    `teachers`: see `pdstudy.evaluate.probes.compared`.
    """
    world = World(own_device())
    model = load_exported(directory.model).to(world.device)
    result = directory.result()
    assert result is not None
    for number, heldout in enumerate(evaluations):
        progress("evaluate", number / len(evaluations))
        text = held_out(heldout, run.view, corpus)
        scored = evaluate(model, text, teacher=compared(heldout, run, teachers, corpus), world=world)
        row = {"step": run.num_steps, "tokens": run.num_tokens, **scored, "final": True}
        directory.append_eval(row)
        result["evals"].append(row)
        write_json(directory.path / "result.json", result)
