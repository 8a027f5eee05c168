"""The trials of a search: which to take up or begin, and how each ends. Storage and run directories are all it knows.

A process that carries out a search holds a claim on each trial that it works on. A trial whose process is gone is
taken up by the next: its parameters are in the storage, what was made of it in the workspace. Several processes may
work on one search.

On a cluster no claims are held: jobs outlive the process that sent them, the next one may be started on another host,
and the ledger sees to it that no job is sent twice. Each process watches all trials that nobody else holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from pdstudy.config.run import Run
from pdstudy.core.claim import Claim, Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.search.cost import device_hours
from pdstudy.search.search import Search
from pdstudy.search.space import Changes, suggest
from pdstudy.search.storage import open_study, search_folder
from pdstudy.search.trial_results import ResultReader, score_runs
from pdstudy.search.warm_start import make_reused_trials, make_run_keys
from pdstudy.workspace.layout import Workspace


@dataclass
class ActiveTrial:
    """A trial that this process carries out."""

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

    def __init__(self, search: Search, workspace: Workspace, read_result: ResultReader, *, claims: bool = True) -> None:
        self.search, self.workspace, self.read_result, self.claims = search, workspace, read_result, claims
        self.folder = search_folder(search, workspace)
        self.study = open_study(search, workspace)
        self.active: list[ActiveTrial] = []
        self._add_reused_trials()

    def step(self, width: int) -> list[ActiveTrial]:
        """End what is finished, then take up and begin trials until `width` are under way; those that are."""
        for active in list(self.active):
            self._advance(active)
        while len(self.active) < width and (taken := self._take()) is not None:
            self.active.append(taken)
            self._advance(taken)
        return self.active

    def runs(self, active: ActiveTrial) -> list[Run]:
        """The runs that a trial waits for, one per seed."""
        return [self.search.run(active.changes, seed, active.rung) for seed in self.search.seeds]

    def describe_held(self) -> Iterator[str]:
        """A line for each trial that another process holds: one of another host may be long gone."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            path = self._claim(trial.number).path
            holder = Claim.holder(path)
            if holder is not None and holder != self._claim(trial.number).mine:
                yield (
                    f"trial {trial.number} is in the hands of process {holder['pid']} on {holder['host']}; "
                    f"if that is gone, delete {path} and search again"
                )

    def close(self) -> None:
        """Give back what is not finished, for another process to take up."""
        for active in list(self.active):
            self._leave(active)

    # --- taking

    def _take(self) -> ActiveTrial | None:
        with self._locked():
            mine = {active.number for active in self.active}
            for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if frozen.number not in mine and (claim := self._try_claim(frozen.number)) is not None:
                    return self._begin(optuna.Trial(self.study, frozen._trial_id), claim)
            if self._is_used_up():
                return None
            trial = self.study.ask()
            claim = self._try_claim(trial.number)
            assert claim is not None, "a trial that was just made can be in nobody's hands"
            return self._begin(trial, claim)

    def _is_used_up(self) -> bool:
        trials = [t for t in self.study.get_trials(deepcopy=False) if not t.user_attrs.get("reused")]
        if len(trials) >= self.search.trials:
            return True
        hours = self.search.device_hours
        return hours is not None and device_hours(self.search, self.workspace, trials) >= hours

    def _begin(self, trial: optuna.Trial, claim: contextlib.AbstractContextManager[object]) -> ActiveTrial:
        changes = suggest(trial, self.search.space)
        if "runs" not in trial.user_attrs:
            with contextlib.suppress(ConfigError):  # reported in `_advance`
                run = self.search.run(changes, self.search.seeds[0], len(self.search.lengths) - 1)
                trial.set_user_attr("runs", make_run_keys(self.search, run))
        return ActiveTrial(trial, changes, claim)

    def _add_reused_trials(self) -> None:
        """Add the finished runs of the workspace that lie in the space as trials, each once."""
        ended = (TrialState.PRUNED, TrialState.FAIL)  # of whose whole length nothing is known
        with self._locked():
            trials = [t for t in self.study.get_trials(deepcopy=False) if t.state not in ended]
            known = {key for t in trials for key in t.user_attrs.get("runs", ())}
            for trial in make_reused_trials(self.search, self.workspace, known, self.read_result):
                self.study.add_trial(trial)

    def _try_claim(self, number: int) -> contextlib.AbstractContextManager[object] | None:
        """The claim on a trial (nothing, where this process takes none); None where another process holds it."""
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
    def _locked(self) -> Iterator[None]:
        """One process at a time counts, begins, claims and decides."""
        with (self.folder / "ask.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- ending

    def _advance(self, active: ActiveTrial) -> None:
        """Go through the rungs as far as they are finished; end the trial where it ends."""
        while self._is_open(active):
            try:
                runs = self.runs(active)
            except ConfigError as error:  # a corner of the space in which no run is possible
                self._end(active, TrialState.FAIL, str(error))
                return
            results = [result for run in runs if (result := self.read_result(run)) is not None]
            wrong = next((r.state for r in results if r.state != "done"), None)
            if wrong is None and len(results) < len(runs):
                return
            if wrong is not None:
                failed = wrong == "failed"
                self._end(active, TrialState.FAIL if failed else TrialState.PRUNED, "a run failed" if failed else wrong)
                return
            whole = [self.search.run(active.changes, r.seed, len(self.search.lengths) - 1) for r in runs]
            scores = score_runs(self.search, whole, [r.row for r in results if r.row is not None])
            active.excess = scores.excess
            if not scores.finite:
                self._end(active, TrialState.PRUNED, "no number")
                return
            if active.rung == len(self.search.lengths) - 1:
                self._end(active, TrialState.COMPLETE, "", scores.values)
                return
            self._judge(active, scores.values[0])

    def _is_open(self, active: ActiveTrial) -> bool:
        """Take over what another process has decided meanwhile, or one that is gone had; False where it is the end."""
        stored = self._read_stored(active)
        if stored.state.is_finished():
            self._leave(active)
            return False
        active.rung = max(active.rung, stored.user_attrs.get("rung", 0))
        return True

    def _read_stored(self, active: ActiveTrial) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[active.number]

    def _judge(self, active: ActiveTrial, value: float) -> None:
        """Prune a trial, or send it to the next rung. That is written down: who was promoted once stays it."""
        pruner, tokens, before = self.search.pruner, self.search.lengths[active.rung], active.rung
        assert pruner is not None
        with self._locked():
            if not self._is_open(active) or active.rung > before:
                return
            beyond = sum(max(0.0, excess) for excess in active.excess.values())
            if beyond:  # first, since a value that is there is taken for whole
                active.trial.set_user_attr(f"beyond at {tokens}", beyond)
            if tokens not in self._read_stored(active).intermediate_values:  # else a process died right here
                active.trial.report(value, tokens)
            others = [
                (t.user_attrs.get(f"beyond at {tokens}", 0.0), t.intermediate_values[tokens])
                for t in self.study.get_trials(deepcopy=False)
                if t.number != active.number and tokens in t.intermediate_values
            ]
            if pruner.goes_on((beyond, value), others):
                active.trial.set_user_attr("rung", active.rung + 1)
            else:
                self._store_end(active, TrialState.PRUNED, f"rung of {tokens:,} tokens")

    def _end(self, active: ActiveTrial, state: TrialState, reason: str, values: list[float] | None = None) -> None:
        with self._locked():
            if self._is_open(active):
                self._store_end(active, state, reason, values)

    def _store_end(
        self, active: ActiveTrial, state: TrialState, reason: str, values: list[float] | None = None
    ) -> None:
        if reason:
            active.trial.set_user_attr("reason", reason)
        for name, excess in active.excess.items():
            if not math.isnan(excess) and name not in self._read_stored(active).constraints:
                active.trial.set_constraint(name, excess)
        self.study.tell(active.number, values, state=state)
        self._leave(active)

    def _leave(self, active: ActiveTrial) -> None:
        active.claim.__exit__(None, None, None)
        if active in self.active:
            self.active.remove(active)
