"""Spaces: which fields of a run a search may set, and to what. Declarations only; nothing here imports optuna.

A space maps dotted fields of the base run to dimensions:

    {"optimiser.lr": Log(2e-3, 1.6e-2),
     "objective": Simplex({"LM": LM(), "KL": KLD(), "JSD": JensenShannon()}),
     "objective.rest": Choice({"tail": Tail(),
                               "both": Level(RenormaliseBoth(), {"objective.temperature.tau": Log(0.5, 2)})})}

A `Level` brings a space of its own, which is searched where that level is chosen: that is how conditions are said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pdstudy.losses import Weighted
from pdstudy.objective import LM

Changes = list[tuple[str, Any]]
"""Fields and their values, in the order in which they are set."""


class Suggests(Protocol):
    """What is needed of an optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...
    def suggest_categorical(self, name: str, choices: list[str]) -> str: ...


@dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`."""

    low: float
    high: float

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_float(name, self.low, self.high))]


@dataclass(frozen=True)
class Log:
    """A number from `low` to `high`, uniform in its logarithm."""

    low: float
    high: float

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_float(name, self.low, self.high, log=True))]


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, in steps of `step`."""

    low: int
    high: int
    step: int = 1

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        return [(path, trial.suggest_int(name, self.low, self.high, step=self.step))]


@dataclass(frozen=True)
class Level:
    """A value of a `Choice` with a space that is searched only where it is chosen."""

    value: Any
    space: Mapping[str, Dimension] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """One of several values (or `Level`s), by label. The storage knows labels alone, so values may be any objects."""

    levels: Mapping[str, Any]

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        label = trial.suggest_categorical(name, list(self.levels))
        level = self.levels[label]
        if not isinstance(level, Level):
            return [(path, level)]
        return [(path, level.value), *suggest(trial, level.space, f"{name}={label}/")]


@dataclass(frozen=True)
class Simplex:
    """Weights of losses that sum to 1, for a field that holds a `KD`: it sets `alpha` and `loss` there.

    `LM()` among the terms is the data's own share, 1 - alpha; without it alpha stays as it is and the weights are
    those inside the distillation loss. The weights are broken off a stick: of what is left, term i of K takes the
    share 1 - (1 - u)^(1 / (K - i)), u uniform in [0, 1], and the last term the rest. That is Beta(1, K - i), so
    uniform u give weights uniform on the simplex (Dirichlet(1, ..., 1)); the map is one to one, which models of the
    objective need.
    """

    terms: Mapping[str, Any]

    def suggest(self, trial: Suggests, name: str, path: str) -> Changes:
        names = list(self.terms)
        return self._changes(weights_of([trial.suggest_float(f"{name}/{n}", 0.0, 1.0) for n in names[:-1]]), path)

    def _changes(self, weights: list[float], path: str) -> Changes:
        losses = [(w, loss) for w, loss in zip(weights, self.terms.values(), strict=True) if not isinstance(loss, LM)]
        alpha = sum(w for w, _ in losses)
        changes: Changes = [(f"{path}.alpha", alpha)] if len(losses) < len(self.terms) else []
        # Where nothing is left for the teacher the run is the LM run, and the loss is not used.
        shares = [w / alpha if alpha > 0 else 1 / len(losses) for w, _ in losses]
        return [*changes, (f"{path}.loss", Weighted(terms=tuple(zip(shares, (d for _, d in losses), strict=True))))]

    def weights(self, params: Mapping[str, Any], name: str) -> dict[str, float]:
        """The weights that a trial's parameters stand for, by term."""
        names = list(self.terms)
        return dict(zip(names, weights_of([params[f"{name}/{n}"] for n in names[:-1]]), strict=True))


Dimension = Uniform | Log | Integer | Choice | Simplex


def weights_of(sticks: list[float]) -> list[float]:
    """len(sticks) + 1 weights, 0 or more, whose sum is 1 to rounding; see `Simplex`."""
    weights, left = [], 1.0
    for i, u in enumerate(sticks):
        taken = left * (1 - (1 - u) ** (1 / (len(sticks) - i)))
        weights.append(taken)
        left -= taken
    return [*weights, max(0.0, left)]


def suggest(trial: Suggests, space: Mapping[str, Dimension], prefix: str = "") -> Changes:
    """The fields that a trial sets. Asked again of the same trial, it gives the same."""
    return [change for path, dimension in space.items() for change in dimension.suggest(trial, f"{prefix}{path}", path)]


class _Corner:
    """Suggests the lowest, or the highest, of everything; of choices the label that is wanted, else the first."""

    def __init__(self, high: bool, labels: Mapping[str, str]) -> None:
        self.high, self.labels = high, labels
        self.choices: dict[str, list[str]] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return high if self.high else low

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return low + (high - low) // step * step if self.high else low

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        self.choices[name] = choices
        return self.labels.get(name, choices[0])


def corners(space: Mapping[str, Dimension]) -> Iterator[Changes]:
    """Both ends of everything, and every level of every choice once: what a check, and a shared store, must cover."""
    waiting: list[dict[str, str]] = [{}]
    seen: set[tuple[str, str]] = set()
    while waiting:
        labels = waiting.pop()
        for high in (False, True):
            corner = _Corner(high, labels)
            yield suggest(corner, space)
            for name, choices in corner.choices.items():
                for label in choices[1:]:
                    if name not in labels and (name, label) not in seen:
                        seen.add((name, label))
                        waiting.append({**labels, name: label})
