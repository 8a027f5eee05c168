"""Spaces: which fields of a run a search may set, and to what. Declarations only; nothing here imports optuna.

A space maps dotted fields of the base run to dimensions:

    {"optimiser.lr": Log(2e-3, 1.6e-2),
     "objective": Simplex({"LM": LM(), "KL": KLD(), "JSD": JensenShannon()}),
     "objective.rest": Choice({"tail": Tail(),
                               "both": Level(RenormaliseBoth(), {"objective.temperature.tau": Log(0.5, 2)})})}

A `Level` brings a space of its own, which is searched where that level is chosen: so conditions are declared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pdstudy.config.losses import Weighted, terms
from pdstudy.config.run import KD, LM
from pdstudy.core.origin import HasOrigin

Changes = list[tuple[str, Any]]
"""Fields and their values, in the order in which they are set."""

Params = dict[str, Any]
"""A trial's parameters, by the names that the storage knows."""


class Suggests(Protocol):
    """The part of an Optuna trial that dimensions need."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...
    def suggest_categorical(self, name: str, choices: list[str]) -> str: ...


@dataclass(frozen=True)
class Uniform(HasOrigin):
    """A number from `low` to `high`."""

    low: float
    high: float

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_float(name, self.low, self.high))]

    def read(self, run: Any, name: str, path: str) -> Iterator[Params]:
        return _number(run, name, path, self.low, self.high)


@dataclass(frozen=True)
class Log(HasOrigin):
    """A number from `low` to `high`, uniform in its logarithm."""

    low: float
    high: float

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_float(name, self.low, self.high, log=True))]

    def read(self, run: Any, name: str, path: str) -> Iterator[Params]:
        return _number(run, name, path, self.low, self.high)


@dataclass(frozen=True)
class Integer(HasOrigin):
    """A whole number from `low` to `high`, in steps of `step`."""

    low: int
    high: int
    step: int = 1

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_int(name, self.low, self.high, step=self.step))]

    def read(self, run: Any, name: str, path: str) -> Iterator[Params]:
        value = get_field(run, path)
        there = isinstance(value, int) and (value - self.low) % self.step == 0
        return _number(run, name, path, self.low, self.high) if there else iter(())


@dataclass(frozen=True)
class Level(HasOrigin):
    """A value of a `Choice` with a space that is searched only where it is chosen."""

    value: Any
    space: Mapping[str, Dimension] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice(HasOrigin):
    """One of several values (or `Level`s), by label. The storage knows labels alone, so values may be any objects."""

    levels: Mapping[str, Any]

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        label = trial.suggest_categorical(name, list(self.levels))
        level = self.levels[label]
        if not isinstance(level, Level):
            return [(path, level)]
        return [(path, level.value), *suggest(trial, level.space, f"{name}={label}/")]

    def read(self, run: Any, name: str, path: str) -> Iterator[Params]:
        for label, level in self.levels.items():
            space = level.space if isinstance(level, Level) else {}
            yield from ({name: label, **inner} for inner in invert_space(run, space, f"{name}={label}/"))


@dataclass(frozen=True)
class Simplex(HasOrigin):
    """Weights of losses that sum to 1, for a field that holds a `KD`: it sets `alpha` and `loss` there.

    `LM()` among the terms is the data's own share, 1 - alpha; without it alpha stays as it is and the weights are
    those inside the distillation loss. A term of weight 0 is left out, so that a corner is the run of that one loss.

    The weights are broken off a stick: of what is left, term i of K takes the share 1 - (1 - u)^(1 / (K - i)), u
    uniform in [0, 1], and the last term the rest. That is Beta(1, K - i), so uniform u give weights uniform on the
    simplex (Dirichlet(1, ..., 1)); the map is one to one, which models of the objective need.
    """

    terms: Mapping[str, Any]

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        sticks = [trial.suggest_float(f"{name}/{term}", 0.0, 1.0) for term in list(self.terms)[:-1]]
        return self._changes(sticks_to_weights(sticks), path)

    def _changes(self, weights: list[float], path: str) -> Changes:
        losses = [(w, loss) for w, loss in zip(weights, self.terms.values(), strict=True) if not isinstance(loss, LM)]
        alpha = min(1.0, sum(w for w, _ in losses))
        changes: Changes = [(f"{path}.alpha", alpha)] if len(losses) < len(self.terms) else []
        # Where nothing is left for the teacher the run is the LM run, and the loss is not used.
        kept = [(w / alpha, loss) for w, loss in losses if w > 0] or [(1 / len(losses), loss) for _, loss in losses]
        return [*changes, (f"{path}.loss", kept[0][1] if len(kept) == 1 else Weighted(terms=tuple(kept)))]

    def read(self, run: Any, name: str, path: str) -> Iterator[Params]:
        kd = get_field(run, path)
        if not isinstance(kd, KD):
            return
        inside = {loss: weight for weight, loss in terms(kd.loss)}
        mixed = any(isinstance(term, LM) for term in self.terms.values())
        share = kd.alpha if mixed else 1.0
        weights = [1 - share if isinstance(t, LM) else share * inside.get(t, 0.0) for t in self.terms.values()]
        yield {f"{name}/{term}": u for term, u in zip(self.terms, weights_to_sticks(weights), strict=False)}

    def weights(self, params: Mapping[str, Any], name: str) -> dict[str, float]:
        """The weights that a trial's parameters stand for, by term."""
        names = list(self.terms)
        return dict(zip(names, sticks_to_weights([params[f"{name}/{n}"] for n in names[:-1]]), strict=True))


Dimension = Uniform | Log | Integer | Choice | Simplex


def sticks_to_weights(sticks: list[float]) -> list[float]:
    """The len(sticks) + 1 weights, 0 or more, whose sum is 1 to rounding; see `Simplex`."""
    weights, left = [], 1.0
    for i, u in enumerate(sticks):
        taken = left * (1 - (1 - u) ** (1 / (len(sticks) - i)))
        weights.append(taken)
        left -= taken
    return [*weights, max(0.0, left)]


def weights_to_sticks(weights: list[float]) -> list[float]:
    """The inverse of `sticks_to_weights`; one half where nothing was left to break."""
    sticks, left, last = [], 1.0, len(weights) - 1
    for i, weight in enumerate(weights[:-1]):
        share = min(1.0, weight / left) if left > 0 else None
        sticks.append(0.5 if share is None else 1 - (1 - share) ** (last - i))
        left -= weight
    return sticks


def invert_space(run: Any, space: Mapping[str, Dimension], prefix: str = "") -> Iterator[Params]:
    """Parameters that may stand for a run in a space: all labels of choices, with the numbers that the run has.

    Whether a trial of such parameters *is* the run is for the caller to check: labels are not compared here.
    """
    each = [list(dimension.read(run, f"{prefix}{path}", path)) for path, dimension in space.items()]
    return combine(each)


def combine(each: Iterable[Iterable[Params]]) -> Iterator[Params]:
    """All combinations of one reading of each dimension."""
    for parts in itertools.product(*each):
        yield {name: value for part in parts for name, value in part.items()}


def get_field(run: Any, path: str) -> Any:
    """The value of a run at a dotted path; None where there is no such field."""
    for name in path.split("."):
        run = getattr(run, name, None)
    return run


def _number(run: Any, name: str, path: str, low: float, high: float) -> Iterator[Params]:
    value = get_field(run, path)
    if isinstance(value, int | float) and low <= value <= high:
        yield {name: value}


def suggest(trial: Suggests, space: Mapping[str, Dimension], prefix: str = "") -> Changes:
    """The fields that a trial sets; always the same for one trial."""
    return [change for path, dimension in space.items() for change in dimension.suggest(trial, f"{prefix}{path}", path)]


ENDS = (0.0, 1.0)
"""Places in a range, as shares of it: both ends."""

INSIDE = (0.382,)
"""A place in a range, as a share of it: not the middle, where the neutral value often is."""


class _Corner:
    """A trial that suggests one place of every range, and of choices the label that is given, else the first."""

    def __init__(self, at: float, labels: Mapping[str, str]) -> None:
        self.at, self.labels = at, labels
        self.choices: dict[str, list[str]] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if self.at in ENDS:
            return high if self.at else low
        return low * (high / low) ** self.at if log else low + (high - low) * self.at

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return low + int((high - low) // step * self.at) * step

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        self.choices[name] = choices
        return self.labels.get(name, choices[0])


def corners(space: Mapping[str, Dimension], at: tuple[float, ...] = ENDS) -> Iterator[Changes]:
    """Corners of a space: both ends of every range (or other places), and every level of every choice once. A check,
    and a shared store, must cover them."""
    waiting: list[dict[str, str]] = [{}]
    seen: set[tuple[str, str]] = set()
    while waiting:
        labels = waiting.pop()
        for place in at:
            corner = _Corner(place, labels)
            yield suggest(corner, space)
            for name, choices in corner.choices.items():
                for label in choices[1:]:
                    if name not in labels and (name, label) not in seen:
                        seen.add((name, label))
                        waiting.append({**labels, name: label})
