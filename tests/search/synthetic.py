"""A search whose runs are answered by a function: the optimum is known, and nothing is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pdstudy import KD, KLD, LM, Heldout, JensenShannon, ReverseKL, Slice, Tail
from pdstudy.config.losses import terms
from pdstudy.config.run import Run
from pdstudy.search.search import Search
from pdstudy.search.space import Log, Simplex
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher

BEST = {"LM": 0.1, "KLD": 0.55, "ReverseKL": 0.25, "JensenShannon": 0.1}
SIMPLEX = Simplex({"LM": LM(), "KLD": KLD(), "ReverseKL": ReverseKL(), "JensenShannon": JensenShannon()})


def make_search(**changes: Any) -> Search:
    fields: dict[str, Any] = {
        "name": "synthetic",
        "base": make_run(objective=KD(teacher=make_teacher(), rest=Tail())),
        "space": {"objective": SIMPLEX, "optimiser.lr": Log(1e-3, 1e-2)},
        "validation": Heldout(data=Slice(split="validation", tokens=640)),
        "trials": 40,
    }
    return Search(**(fields | changes))


def mixture(run: Run) -> dict[str, float]:
    assert isinstance(run.objective, KD)
    inside = {type(loss).__name__: run.objective.alpha * w for w, loss in terms(run.objective.loss)}
    return {"LM": 1 - run.objective.alpha, **inside}


def regret(run: Run) -> float:
    """0 at the optimum: a known point of the simplex, and a learning rate of 4e-3."""
    weights = mixture(run)
    return sum((weights.get(n, 0.0) - w) ** 2 for n, w in BEST.items()) + 0.1 * math.log(run.optimiser.lr / 4e-3) ** 2


def answered(run: Run) -> RunResult:
    return RunResult({"loss": regret(run)})


def best_of(search: Search, folder: Path) -> float:
    trials = Trials(search, Workspace(folder), answered)
    assert trials.step(1) == []
    return float(trials.study.best_value)
