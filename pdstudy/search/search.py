"""A search, declared: a base run, a space, what is wanted, how it is looked for, and how long."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pdstudy.config.evaluation import Heldout
from pdstudy.config.normal_form import normal_form, normal_teacher
from pdstudy.config.placement import CPU_CORE, Execution, Machine, Placement
from pdstudy.config.run import KD, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import canonical, is_declared
from pdstudy.core.origin import Spot, pass_on, remember_origin, spot_of
from pdstudy.core.validation import Problem, keep_tuples, own_problems, problems
from pdstudy.search.objectives import AtMost, Loss, Quantity
from pdstudy.search.space import ENDS, INSIDE, Changes, Dimension, Log, Uniform, corners
from pdstudy.search.strategy import TPE, Final, Halving, Sampler
from pdstudy.search.validation import check_quantities, check_rungs, check_space, check_stores
from pdstudy.study.grid import Arm, Change, Grid, changed
from pdstudy.study.study import Study


@dataclass(frozen=True)
class Search:
    """A space of runs, and the quantities to be minimised over it.

    `trials` bounds the number of trials, and so does `device_hours`: none is begun once those that ended and the
    estimate for those under way come to that (`pdstudy.search.cost`). A trial is trained with every seed and scored by
    the mean, on `validation`; nothing of a search sees a test split. Of two objectives the trials that no other beats
    in both are the result; under `constraints` the best is one that keeps them. A diverged trial, or one whose score is
    no number, counts as pruned, which TPE ranks behind all that are complete; a trial whose run fails has failed.
    Finished runs of the workspace that lie in the space are trials, too, marked as reused and not counted. All drivers
    of a search share its workspace.

    `identity` names the search in its storage: with another base, space, objective, constraint, seed or rung it is
    another search; more `trials` or another sampler go on with the one that is there. `placement`, `executions`,
    `machine` and `elsewhere` are as in a `Study`.
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
    sampler: Sampler = TPE()
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

    def __post_init__(self) -> None:
        remember_origin(self, depth=3)
        keep_tuples(self)

    @property
    def where(self) -> Spot:
        """File and line of the call that made it."""
        return spot_of(self) or ("", 0)

    @cached_property
    def identity(self) -> str:
        """`NAME-` and six digits of the hash of all that decides which trials are best."""
        rungs = self.pruner.rungs if self.pruner else ()
        base = dataclasses.replace(normal_form(self.base), seed=0)  # trials have seeds of their own
        if isinstance(self.base.objective, KD):  # that of the trials, where the base itself does not use it
            teacher = normal_teacher(self.base.objective.teacher)
            base = dataclasses.replace(base, objective=dataclasses.replace(self.base.objective, teacher=teacher))
        question = [canonical(base), _form(self.space), canonical(self.validation),
                 _form(self.objectives), self.seeds, rungs, *map(_form, self.constraints)]  # fmt: skip
        return f"{self.name}-{hashlib.sha256(repr(question).encode()).hexdigest()[:6]}"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each rung, the whole length last."""
        return (*(self.pruner.rungs if self.pruner else ()), self.base.num_tokens)

    def arm(self, label: str, changes: Changes, rung: int | None = None) -> Arm:
        """A trial's fields as an arm of a study, at the length of a rung (None: as the fields have it)."""
        if rung is not None and rung < len(self.lengths) - 1:
            changes = [*changes, ("steps", None), ("tokens", self.lengths[rung])]
        return Arm({"trial": label}, tuple(Change(path, value) for path, value in changes))

    def study(self, arms: list[Arm]) -> Study:
        """An ordinary study of some trials."""
        made = Study(name=self.name, base=self.base, grid=Grid(tuple(arms)), seeds=self.seeds,
                     evaluations=(self.validation,), placement=self.placement, executions=self.executions,
                     machine=self.machine, elsewhere=self.elsewhere, title=self.title, about=self.about)  # fmt: skip
        return pass_on(self, made)

    def envelope(self) -> Study:
        """The space's corners as a study: what they share (corpus, teacher, stores) serves every trial."""
        return self.study([self.arm(f"corner{i}", c) for i, c in enumerate(corners(self.space))])

    def problems(self) -> list[Problem]:
        """Everything that is wrong, each once, with file and line."""
        found = [p.at(spot_of(self, p.field)) for p in own_problems(self)]
        return list({str(problem): problem for problem in found}.values())

    def check(self) -> Iterator[Problem]:
        """Problems of its own fields, of the space, of the rungs, then those of the space's runs."""
        parts = list(self._check_parts())
        yield from parts
        of_space = list(check_space(self.space))
        yield from of_space
        if of_space:
            yield from self._check_names()
            yield from self.faults(self.base)
            return
        of_runs = self.envelope().problems()
        if self.pruner is not None and not any(p.field.startswith("pruner") for p in parts):
            yield from check_rungs(self.pruner.rungs, self.base, self._corner_runs(ENDS), self.faults)
        for problem in of_runs:
            yield dataclasses.replace(problem, field=problem.field.replace("evaluations[0]", "validation"))
        if not of_runs:
            yield from check_stores(self._corner_runs(ENDS), self._corner_runs(INSIDE))
        if self.final is not None and not any(p.field.startswith("final") for p in parts):
            yield from self._check_final(self.final)

    def _check_parts(self) -> Iterator[Problem]:
        if self.trials < 1:
            yield Problem("trials", self.trials, "1 or more")
        if self.device_hours is not None and self.device_hours <= 0:
            yield Problem("device_hours", self.device_hours, "above 0, or None for no bound")
        if not 1 <= len(self.objectives) <= 2:
            yield Problem("objectives", self.objectives, "one or two")
        yield from check_quantities(self.objectives, self.constraints, self.validation, self.base.view)
        if self.validation.data.split != "validation":
            yield Problem("validation", self.validation.data.split, "a validation slice: test is for what was chosen")
        if self.pruner is not None and len(self.objectives) > 1:
            yield Problem("pruner", self.pruner, "None with two objectives, which have no order")
        for name in ("pruner", "sampler", "final"):
            yield from problems(getattr(self, name), name)

    def _check_names(self) -> Iterator[Problem]:
        """Fields of a space, else unsound, that the base does not have; what a wider dimension brings may have them."""
        paths = [path for path in self.space if isinstance(path, str)]
        for path in paths:
            if not any(path.startswith(f"{wider}.") for wider in paths):
                for problem in changed(self.base, self.arm("", [(path, None)]))[1]:
                    yield problem.at(spot_of(self, f"space[{path!r}]"))

    def _check_final(self, final: Final) -> Iterator[Problem]:
        seen = sorted({*final.seeds} & {*self.seeds})
        if seen:
            yield Problem("final.seeds", seen, f"seeds that the search does not train: other than {self.seeds}")
        compared = dataclasses.replace(self.study([Arm({}, ())]), seeds=final.seeds, evaluations=final.evaluations)
        for problem in compared.check():
            if problem.field.startswith(("seeds", "evaluations")):
                yield problem.below("final")
        of_base = self.faults(self.base)
        for label, fields in final.controls.items():
            run, faults = changed(self.base, Arm({}, tuple(Change(path, value) for path, value in fields.items())))
            for problem in [*faults, *(p for p in self.faults(run) if p not in of_base)]:
                yield dataclasses.replace(problem, field=f"final.controls[{label!r}]: {problem.field}")

    def _corner_runs(self, at: tuple[float, ...]) -> list[Run]:
        """The runs at corners of the space, as far as their fields are fields."""
        return [changed(self.base, self.arm("", changes))[0] for changes in corners(self.space, at)]

    def faults(self, run: Run) -> list[Problem]:
        """Problems of a run, without files that are missing where the search is to run `elsewhere`."""
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
