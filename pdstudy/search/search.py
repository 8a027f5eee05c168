"""A search, declared: a base run, a space, what is wanted, how it is looked for, and how long."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pdstudy.config.evaluation import Evaluation, Heldout
from pdstudy.config.normal_form import normal_form, normal_teacher
from pdstudy.config.placement import CPU_CORE, Execution, Machine, Placement
from pdstudy.config.run import KD, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import canonical, is_declared
from pdstudy.core.validation import Problem, problems
from pdstudy.search.objectives import AtMost, Loss, Quantity
from pdstudy.search.space import Changes, Dimension, Log, Uniform, corners
from pdstudy.study.grid import Arm, Change, Grid, caller, changed
from pdstudy.study.study import Study


@dataclass(frozen=True)
class TPE:
    """Tree-structured Parzen estimators over all fields jointly, conditions included; optuna's `TPESampler`."""

    startup: int = 10


@dataclass(frozen=True)
class GP:
    """A Gaussian process with noise; optuna's `GPSampler`. For some ten continuous fields and a hundred trials. It
    imports torch, and knows nothing of trials that were pruned."""

    startup: int = 10


@dataclass(frozen=True)
class Random:
    """Every trial drawn from the space on its own."""


Sampler = TPE | GP | Random


Reached = tuple[float, float]
"""How far a trial is beyond the constraints in all, and its value."""


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving: after each of `rungs` (tokens of training) only the best `keep` of all trials
    that came so far go on, compared at equal tokens.

    Each rung is an ordinary run of that length. With a WSD schedule runs of one trial share their stable part. Trials
    that are worse than the cut by no more than `band` (nats) go on, too: seeds alone make such differences. Measure it:
    the standard deviation, over seeds, of the difference between two runs.

    Trials are judged as they come, so the first ones pass easily, and with several at a time who passes depends on who
    is first; what was decided is kept. Under constraints those that keep them come first, so that trials beyond a bound
    do not raise the cut for the others.
    """

    rungs: tuple[int, ...]
    keep: float = 1 / 3
    band: float = 0.0

    def goes_on(self, reached: Reached, others: list[Reached]) -> bool:
        """`others`: what the other trials reached at this rung."""
        ranked = sorted([reached, *others])
        beyond, value = ranked[max(1, round(self.keep * len(ranked))) - 1]
        return reached <= (beyond, value + self.band)


@dataclass(frozen=True)
class Final:
    """What was found, made again to be believed: the `best` trials on `seeds` that the search has not seen, beside
    controls, scored on a test slice. A trial that was best for its seed's luck loses that luck here.

    `controls` are arms by label: fields of the base, and what they are set to. All arms are compared with each control,
    paired by seed; the first is the baseline.
    """

    controls: Mapping[str, Mapping[str, Any]]
    evaluations: tuple[Evaluation, ...]
    best: int = 3
    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)


@dataclass(frozen=True)
class Search:
    """A space of runs and what is wanted of them.

    `trials` bounds how many are asked for, and so does `device_hours`: no more are once what trials took, and those
    under way are estimated to take, comes to that (`pdstudy.search.cost`). A trial is trained with every seed and
    scored by the mean. `validation` is what trials are scored on; nothing of a search sees a test split. Of two
    objectives the trials that no other beats in both are the result; under `constraints` the best is one that keeps
    them. A diverged trial, or one whose score is no number, is told as pruned, which TPE ranks behind all that are
    complete; one that fails is told as failed. Finished runs of the workspace that lie in the space are trials, too,
    marked as reused and not counted. All drivers of a search share its workspace.

    What is asked (`identity`) names the search in its storage: change the base, the space, the objectives, the
    constraints, the seeds or the rungs, and it is another search; more `trials` or another sampler go on with the one
    that is there. `executions` say what its jobs ask of a cluster, as those of a study do; `elsewhere`: the texts and
    models that it names need not be here to plan it.
    """

    name: str
    base: Run
    space: Mapping[str, Dimension]
    validation: Heldout
    trials: int
    objectives: tuple[Quantity, ...] = (Loss(),)
    constraints: tuple[AtMost, ...] = ()
    device_hours: float | None = None
    seeds: tuple[int, ...] = (0,)
    sampler: TPE | GP | Random = TPE()
    pruner: Halving | None = None
    storage: str | None = None
    placement: Placement = Placement()
    executions: tuple[Execution, ...] = ()
    machine: Machine = CPU_CORE
    seed: int = 0
    elsewhere: bool = False
    final: Final | None = None
    title: str = ""
    about: str = ""
    where: tuple[str, int] = field(default_factory=caller, compare=False)

    @cached_property
    def identity(self) -> str:
        """`NAME-` and six digits of the hash of what is asked."""
        rungs = self.pruner.rungs if self.pruner else ()
        base = dataclasses.replace(normal_form(self.base), seed=0)  # trials have seeds of their own
        if isinstance(self.base.objective, KD):  # that of the trials, where the base itself asks nothing of it
            teacher = normal_teacher(self.base.objective.teacher)
            base = dataclasses.replace(base, objective=dataclasses.replace(self.base.objective, teacher=teacher))
        asked = [canonical(base), _form(self.space), canonical(self.validation),
                 _form(self.objectives), self.seeds, rungs, *map(_form, self.constraints)]  # fmt: skip
        return f"{self.name}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:6]}"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each rung, the whole length last."""
        return (*(self.pruner.rungs if self.pruner else ()), self.base.num_tokens)

    def arm(self, label: str, changes: Changes, rung: int | None = None) -> Arm:
        """A trial's fields as an arm of a study, at the length of a rung (None: as the fields have it)."""
        file, line = self.where
        if rung is not None and rung < len(self.lengths) - 1:
            changes = [*changes, ("steps", None), ("tokens", self.lengths[rung])]
        return Arm({"trial": label}, tuple(Change(path, value, file, line) for path, value in changes))

    def study(self, arms: list[Arm]) -> Study:
        """An ordinary study of some trials."""
        return Study(name=self.name, base=self.base, grid=Grid(tuple(arms)), seeds=self.seeds,
                     evaluations=(self.validation,), placement=self.placement, executions=self.executions,
                     machine=self.machine, elsewhere=self.elsewhere, title=self.title, about=self.about,
                     where=self.where)  # fmt: skip

    def envelope(self) -> Study:
        """The space's corners as a study: what they share (corpus, teacher, stores) serves every trial."""
        return self.study([self.arm(f"corner{i}", c) for i, c in enumerate(corners(self.space))])

    def problems(self) -> list[Problem]:
        """Everything that is wrong, each once."""
        from pdstudy.search.validation import check_search

        file, line = self.where
        found = [dataclasses.replace(p, file=p.file or file, line=p.line or line) for p in check_search(self)]
        return list({str(problem): problem for problem in found}.values())

    def faults(self, run: Run) -> list[Problem]:
        """What is wrong with a run, what is not here left out where the search is to run `elsewhere`."""
        return [p for p in problems(run) if not (self.elsewhere and p.missing)]

    def run(self, changes: Changes, seed: int, rung: int) -> Run:
        """The run of one seed of a trial at a rung. Raises `ConfigError` with what is wrong with it."""
        made, wrong = changed(self.base, self.arm("", changes, rung))
        wrong = [*wrong, *self.faults(made)]
        if wrong:
            raise ConfigError("; ".join(f"{p.field}: found {p.found!r}; allowed: {p.allowed}" for p in wrong))
        return dataclasses.replace(made, seed=seed)


def _form(value: Any) -> Any:
    """Plain text-like data of dimensions and objectives, in which declared objects stand as their canonical form."""
    if is_declared(value):
        return canonical(value)
    if isinstance(value, Uniform | Log):  # 1 and 1.0 are one bound
        return [type(value).__name__, float(value.low), float(value.high)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_form(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, Mapping):
        return [[key, _form(v)] for key, v in value.items()]
    if isinstance(value, tuple | list):
        return [_form(v) for v in value]
    return value
