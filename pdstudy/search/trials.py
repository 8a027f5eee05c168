"""Asking for trials and telling what they came to. The storage and the run directories are all that a driver knows.

A driver holds a claim on each trial that it carries out. A trial whose driver is gone is taken up by the next: what it
was asked is in the storage, what was made of it in the workspace. Several drivers may work on one search.

Drivers of a cluster hold no claims: jobs outlive their driver, the next one may be started on another host, and the
ledger sees to it that no job is sent twice. Each watches all trials that are in nobody's hands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.claim import Claim, Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.search.cost import device_hours
from pdstudy.search.objectives import Quantity
from pdstudy.search.search import Search
from pdstudy.search.space import Changes, suggest
from pdstudy.search.storage import folder, open_study
from pdstudy.search.warm_start import finished_runs, keys_of, trial_of
from pdstudy.workspace.layout import Workspace


@dataclass
class Active:
    """A trial that this driver carries out."""

    trial: optuna.Trial
    changes: Changes
    claim: contextlib.AbstractContextManager[object]
    rung: int = 0
    excess: dict[str, float] = field(default_factory=dict)
    """By constraint, how far it is beyond the bound; of its newest rung."""

    @property
    def number(self) -> int:
        return self.trial.number


class Trials:
    """The trials of one search, and what to do next about them."""

    def __init__(self, search: Search, workspace: Workspace, look: Look, *, claims: bool = True) -> None:
        self.search, self.workspace, self.look, self.claims = search, workspace, look, claims
        self.folder = folder(search, workspace)
        self.study = open_study(search, workspace)
        self.active: list[Active] = []
        self._reuse(workspace)

    def step(self, width: int) -> list[Active]:
        """Tell what is finished, take up and ask for trials until `width` are under way; those that are."""
        for active in list(self.active):
            self._settle(active)
        while len(self.active) < width and (taken := self._take()) is not None:
            self.active.append(taken)
            self._settle(taken)
        return self.active

    def runs(self, active: Active) -> list[Run]:
        """The runs that a trial waits for, one per seed."""
        return [self.search.run(active.changes, seed, active.rung) for seed in self.search.seeds]

    def held(self) -> Iterator[str]:
        """Of trials that are in another's hands, who has them: somebody of another host may be long gone."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            path = self._claim(trial.number).path
            holder = Claim.holder(path)
            if holder is not None and holder != self._claim(trial.number).mine:
                yield (
                    f"trial {trial.number} is in the hands of process {holder['pid']} on {holder['host']}; "
                    f"if that is gone, delete {path} and search again"
                )

    def close(self) -> None:
        """Give back what is not finished, for another driver to take up."""
        for active in list(self.active):
            self._leave(active)

    # --- taking

    def _take(self) -> Active | None:
        with self._alone():
            mine = {active.number for active in self.active}
            for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if frozen.number not in mine and (claim := self._claimed(frozen.number)) is not None:
                    return self._begun(optuna.Trial(self.study, frozen._trial_id), claim)
            if self._used_up():
                return None
            trial = self.study.ask()
            fresh = self._claimed(trial.number)
            assert fresh is not None, "a trial that was just made can be in nobody's hands"
            return self._begun(trial, fresh)

    def _used_up(self) -> bool:
        trials = [t for t in self.study.get_trials(deepcopy=False) if not t.user_attrs.get("reused")]
        if len(trials) >= self.search.trials:
            return True
        hours = self.search.device_hours
        return hours is not None and device_hours(self.search, self.workspace, trials) >= hours

    def _begun(self, trial: optuna.Trial, claim: contextlib.AbstractContextManager[object]) -> Active:
        changes = suggest(trial, self.search.space)
        if "runs" not in trial.user_attrs:
            with contextlib.suppress(ConfigError):  # said where the trial is settled
                run = self.search.run(changes, self.search.seeds[0], len(self.search.lengths) - 1)
                trial.set_user_attr("runs", keys_of(self.search, run))
        return Active(trial, changes, claim)

    def _reuse(self, workspace: Workspace) -> None:
        """Add the finished runs of the workspace that lie in the space as trials, each once."""
        ended = (TrialState.PRUNED, TrialState.FAIL)  # of whose whole length nothing is known
        with self._alone():
            trials = [t for t in self.study.get_trials(deepcopy=False) if t.state not in ended]
            known = {key for t in trials for key in t.user_attrs.get("runs", ())}
            for run in finished_runs(self.search, workspace):
                keys = keys_of(self.search, run)
                trial = None if keys[0] in known else trial_of(self.search, run)
                if trial is None:
                    continue
                runs = [dataclasses.replace(run, seed=seed) for seed in self.search.seeds]
                rows = [a.row for a in map(self.look, runs) if a is not None and a.row is not None]
                values, excess = self._scores(runs, rows) if len(rows) == len(runs) else ([math.nan], {})
                if all(map(math.isfinite, [*values, *excess.values()])):
                    made = optuna.create_trial(
                        params=trial.params, distributions=trial.distributions, values=values, constraints=excess,
                        user_attrs={"runs": keys, "reused": True},
                    )  # fmt: skip
                    self.study.add_trial(made)

    def _claimed(self, number: int) -> contextlib.AbstractContextManager[object] | None:
        """The claim on a trial (nothing, where this driver takes none); None where the trial is in another's hands."""
        claim = self._claim(number)
        if not self.claims:
            return None if Claim.holder(claim.path) else contextlib.nullcontext()
        try:
            return claim.__enter__()
        except Claimed:
            return None

    def _claim(self, number: int) -> Claim:
        return Claim(self.folder / "claims" / f"{number}", f"trial {number} of {self.search.name}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One driver at a time counts, asks, claims and decides."""
        with (self.folder / "ask.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- telling

    def _settle(self, active: Active) -> None:
        """Go through the rungs as far as they are finished; tell the trial where it ends."""
        while self._goes_on(active):
            try:
                runs = self.runs(active)
            except ConfigError as error:  # a corner of the space in which no run is possible
                self._end(active, TrialState.FAIL, str(error))
                return
            answers = [self.look(run) for run in runs]
            finished = [a for a in answers if a is not None]
            wrong = next((a.state for a in finished if a.state != "done"), None)
            if wrong is None and len(finished) < len(runs):
                return
            if wrong == "failed":
                self._end(active, TrialState.FAIL, "a run failed")
                return
            values: list[float] = []
            if not wrong:
                whole = [self.search.run(active.changes, r.seed, len(self.search.lengths) - 1) for r in runs]
                values, active.excess = self._scores(whole, [a.row for a in finished if a.row is not None])
            if wrong or not all(map(math.isfinite, [*values, *active.excess.values()])):
                self._end(active, TrialState.PRUNED, wrong or "no number")
                return
            if active.rung == len(self.search.lengths) - 1:
                self._end(active, TrialState.COMPLETE, "", values)
                return
            self._judge(active, values[0])

    def _goes_on(self, active: Active) -> bool:
        """Take over what another driver has decided meanwhile, or one that is gone had; False where it is the end."""
        stored = self._stored(active)
        if stored.state.is_finished():
            self._leave(active)
            return False
        active.rung = max(active.rung, stored.user_attrs.get("rung", 0))
        return True

    def _stored(self, active: Active) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[active.number]

    def _scores(self, runs: list[Run], rows: list[Mapping[str, Any]]) -> tuple[list[float], dict[str, float]]:
        """Of whole runs and their rows, one per seed: the objectives, and by constraint what is beyond its bound."""

        def mean(quantity: Quantity) -> float:
            return sum(quantity.value(run, row) for run, row in zip(runs, rows, strict=True)) / len(runs)

        bounds = {c.name: mean(c.quantity) - c.bound for c in self.search.constraints}
        return [mean(quantity) for quantity in self.search.objectives], bounds

    def _judge(self, active: Active, value: float) -> None:
        """Prune a trial, or send it to the next rung. That is written down: who was promoted once stays it."""
        pruner, tokens, before = self.search.pruner, self.search.lengths[active.rung], active.rung
        assert pruner is not None
        with self._alone():
            if not self._goes_on(active) or active.rung > before:
                return
            beyond = sum(max(0.0, excess) for excess in active.excess.values())
            if beyond:  # first, since a value that is there is taken for whole
                active.trial.set_user_attr(f"beyond at {tokens}", beyond)
            if tokens not in self._stored(active).intermediate_values:  # else a driver died right here
                active.trial.report(value, tokens)
            others = [
                (t.user_attrs.get(f"beyond at {tokens}", 0.0), t.intermediate_values[tokens])
                for t in self.study.get_trials(deepcopy=False)
                if t.number != active.number and tokens in t.intermediate_values
            ]
            if pruner.goes_on((beyond, value), others):
                active.trial.set_user_attr("rung", active.rung + 1)
            else:
                self._tell(active, TrialState.PRUNED, f"rung of {tokens:,} tokens")

    def _end(self, active: Active, state: TrialState, reason: str, values: list[float] | None = None) -> None:
        with self._alone():
            if self._goes_on(active):
                self._tell(active, state, reason, values)

    def _tell(self, active: Active, state: TrialState, reason: str, values: list[float] | None = None) -> None:
        if reason:
            active.trial.set_user_attr("reason", reason)
        for name, excess in active.excess.items():
            if not math.isnan(excess) and name not in self._stored(active).constraints:
                active.trial.set_constraint(name, excess)
        self.study.tell(active.number, values, state=state)
        self._leave(active)

    def _leave(self, active: Active) -> None:
        active.claim.__exit__(None, None, None)
        if active in self.active:
            self.active.remove(active)


@dataclass(frozen=True)
class Answer:
    """What one run came to: its row of the search's evaluation, or none where it diverged or failed."""

    row: Mapping[str, Any] | None = None
    state: str = "done"
    """done, diverged or failed."""


Look = Callable[[Run], Answer | None]
"""What a run came to; None where it is not finished."""


def look(search: Search, workspace: Workspace, run: Run, failed: Collection[str]) -> Answer | None:
    """What a run directory says of a run. `failed`: keys of runs that did not come to an end."""
    key = fingerprint(normal_form(run))
    if key in failed:
        return Answer(state="failed")
    result = workspace.run(run).result()
    if result is None:
        return None
    if result["state"] != "done":
        return Answer(state=result["state"])
    rows = [r for r in result["evals"] if r["eval"] == fingerprint(search.validation)]
    return Answer({**rows[-1], "train_seconds": result["seconds"]["train"]}) if rows else None
