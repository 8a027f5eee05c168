"""With WSD a promoted trial goes on from the trunk of its rung before: only the decay is trained again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from pdstudy.config.optimizer import WSD
from pdstudy.config.run import KD, Run
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.builder import make_plan
from pdstudy.search.search import Search
from pdstudy.search.space import Log, Uniform
from pdstudy.search.strategy import Halving
from pdstudy.search.trial_plans import plan_trials
from pdstudy.search.trial_results import read_run_result
from pdstudy.search.trials import Trials
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny

STEP = 256
RUNGS = (12, 16, 20)
WARMUP, DECAY = 2, 4


@pytest.fixture
def search(tmp_path: Path) -> Search:
    study = load_study(str(write_tiny(tmp_path)), "mini")
    kd = study.cells[-1].run.objective
    assert isinstance(kd, KD)
    wsd = WSD(warmup_tokens=WARMUP * STEP, decay_tokens=DECAY * STEP)
    return Search(
        name="trunk",
        base=dataclasses.replace(study.base, objective=kd, schedule=wsd),
        space={"objective.alpha": Uniform(0.2, 0.8), "optimiser.lr": Log(2e-3, 1e-2)},
        validation=study.evaluations[0],
        trials=1,
        pruner=Halving(tuple(steps * STEP for steps in RUNGS[:-1])),
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each step (0-based) was trained."""
    from pdstudy.train import loop

    counts: Counter[int] = Counter()
    gradients = loop.gradients

    def counted(model: Any, feed: Any, world: Any, step: int, *more: Any, **named: Any) -> Any:
        counts[step] += 1
        return gradients(model, feed, world, step, *more, **named)

    monkeypatch.setattr(loop, "gradients", counted)
    return counts


def make(plan: Any, workspace: Workspace) -> None:
    for item in plan.todo:
        perform(make_order(plan, item, workspace), lambda what, share: None, lambda: False)


def outcome(workspace: Workspace, run: Run) -> tuple[Any, ...]:
    """Evaluations and weights, to the bit."""
    result = workspace.run(run).result()
    assert result is not None
    with safe_open(workspace.run(run).model / "model.safetensors", "numpy") as file:
        weights = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    return result["state"], [row["loss"] for row in result["evals"]], weights


@pytest.mark.slow
def test_a_promoted_trial_repeats_its_decay_and_nothing_else(
    search: Search, trained: Counter[int], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "searched")
    make(plan_trials(search, workspace, []), workspace)
    trained.clear()
    trials = Trials(search, workspace, lambda run: read_run_result(search, workspace, run, ()))
    (active,) = trials.step(1)
    while trials.step(1):
        make(plan_trials(search, workspace, [(a.number, a.changes, a.rung) for a in trials.active]), workspace)
    assert [t.state.name for t in trials.study.get_trials()] == ["COMPLETE"]
    # Each longer rung starts where the decay of the one before began.
    repeated = {step for steps in RUNGS[:-1] for step in range(steps - DECAY, steps)}
    assert trained == {step: 2 if step in repeated else 1 for step in range(RUNGS[-1])}

    straight = Workspace(tmp_path / "straight")
    for rung in range(len(RUNGS)):
        run = search.run(active.changes, 0, rung)
        assert run.num_steps == RUNGS[rung]
        make(make_plan(search.study([search.arm("0", active.changes, rung)]), straight), straight)
        assert outcome(workspace, run) == outcome(straight, run)
