"""Evaluations of a finished run that were not wanted when it was trained: from its export, added to its result."""

from __future__ import annotations

from collections.abc import Callable

from transformers import AutoModelForCausalLM

from pdstudy.config import Heldout, Run
from pdstudy.corpus import TokenCorpus
from pdstudy.evaluate.heldout import evaluate
from pdstudy.files import write_json
from pdstudy.rundir import RunDir
from pdstudy.train.model import build_model


def evaluate_export(
    run: Run,
    directory: RunDir,
    *,
    corpus: TokenCorpus,
    evaluations: tuple[Heldout, ...],
    progress: Callable[[str, float], None],
) -> None:
    """Evaluate the exported model and add the rows to evals.jsonl and, as the last act, to result.json."""
    result = directory.result()
    assert result is not None
    model = build_model(run.student, seed=run.seed)
    model.load_state_dict(AutoModelForCausalLM.from_pretrained(directory.model).state_dict())
    for i, heldout in enumerate(evaluations):
        progress("evaluate", i / len(evaluations))
        scored = evaluate(model, corpus, run.view, heldout)
        row = {"step": result["steps"], "tokens": result["tokens"], **scored, "final": True}
        directory.append_eval(row)
        result["evals"].append(row)
        result["seconds"]["evaluate"] += scored["seconds"]
    write_json(directory.path / "result.json", result)
