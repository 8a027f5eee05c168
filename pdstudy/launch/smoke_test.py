"""Runs cut short to a few steps, in this process, to see that they work before they cost: `pdstudy run --steps N`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from pdstudy.config.evaluation import Evaluation, Probe
from pdstudy.config.optimizer import WSD
from pdstudy.config.run import KD, Online, Run, Start
from pdstudy.core.errors import ConfigError
from pdstudy.core.origin import pass_on
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.launch.worker import output_to
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.study.grid import Grid, arm
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace


def shortened(run: Run, steps: int) -> Run:
    """The run with `steps` steps, teacher and start with as many, its slice cut to what those read.

    A window of online logits moves to the first steps of its teacher.
    """
    data = dataclasses.replace(run.data, tokens=min(run.data.tokens, steps * run.tokens_per_step))
    objective = run.objective
    if isinstance(objective, KD) and isinstance(objective.teacher, Run):
        objective = dataclasses.replace(objective, teacher=shortened(objective.teacher, steps))
    elif isinstance(objective, KD) and isinstance(objective.teacher, Online):
        teacher = shortened(objective.teacher.run, steps)
        read = min(teacher.data.tokens, steps * teacher.text_sequences_per_step * teacher.view.context)
        data = dataclasses.replace(teacher.data, tokens=min(data.tokens, read))
        objective = dataclasses.replace(objective, teacher=Online(run=teacher))
    start = run.start
    if start is not None and isinstance(start.model, Run):
        start = Start(model=shortened(start.model, steps))
    half = steps * run.tokens_per_step // 2
    schedule = dataclasses.replace(run.schedule, warmup_tokens=min(run.schedule.warmup_tokens, half))
    if isinstance(schedule, WSD):
        schedule = dataclasses.replace(schedule, decay_tokens=min(schedule.decay_tokens, half))
    return dataclasses.replace(run, objective=objective, data=data, schedule=schedule, steps=steps, tokens=None,
                               start=start)  # fmt: skip


def _at_the_end(evaluation: Evaluation, steps: int) -> Evaluation:
    """The evaluation at a run's end alone; a teacher to compare with is shortened, too."""
    evaluation = dataclasses.replace(evaluation, every_tokens=None)
    if isinstance(evaluation, Probe) and isinstance(evaluation.teacher, Run):
        return dataclasses.replace(evaluation, teacher=shortened(evaluation.teacher, steps))
    return evaluation


@dataclass(frozen=True)
class Tried:
    """An artifact of a cut-short study: how it ended and, of a run, its speed and its losses by split."""

    kind: str
    name: str
    state: str
    tokens_per_second: float
    losses: tuple[tuple[str, float], ...]


def try_folder(workspace: Workspace) -> Workspace:
    """The workspace of cut-short runs, apart from the results."""
    return Workspace(workspace.root / "try")


def try_runs(study: Study, workspace: Workspace, steps: int) -> Iterator[Tried]:
    """Make the runs of the first seed with `steps` steps, in this process; yields each artifact as it ends."""
    if steps < 1:
        raise ConfigError(f"--steps: found {steps}; allowed: 1 or more")
    apart = try_folder(workspace)
    grid = Grid(())
    seed = study.cells[0].seed
    for cell in (c for c in study.cells if c.seed == seed):
        short = shortened(cell.run, steps)
        fields = {f.name: getattr(short, f.name) for f in dataclasses.fields(short) if f.name != "seed"}
        grid += arm(cell.name, fields, axis="run")
    final = tuple(_at_the_end(e, steps) for e in study.evaluations)
    cut = Study(name=study.name, base=study.base, grid=grid, seeds=(seed,), evaluations=final,
                placement=study.placement, machine=study.machine)  # fmt: skip
    plan = make_plan(pass_on(study, cut), apart)
    if plan.problems:
        raise ConfigError("\n".join(str(p) for p in plan.problems))
    for artifact in plan.artifacts:  # those done, too: a second try shows what the first one found
        order = make_order(plan, artifact, apart)
        with output_to(order.log):
            state = perform(order, lambda what, share: None, lambda: False)
        result = (artifact.directory(apart).result() or {}) if isinstance(artifact, RunArtifact) else {}
        losses = tuple((str(e["split"]), float(e["loss"])) for e in result.get("evals", []))
        name = artifact.label.removeprefix("run=").removesuffix(f",seed={seed}")
        yield Tried(artifact.kind, name, state, result.get("tokens_per_second", 0.0), losses)
