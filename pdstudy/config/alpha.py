"""Alpha, the share of distillation, over training and from token to token.

Alpha of a step is `KD.alpha` times `factor(x)`, x = steps done / steps of the run, from 0 to 1; alpha of a token is
that times the weight of its token rule. End points and periods that Peng et al. 2024 do not print are parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem


@declared
class Steady:
    """Alpha constant: factor 1 throughout."""

    def factor(self, x: float) -> float:
        return 1.0


@declared
class LinearMix:
    """Linear from `first` to `last`: first + (last - first) x.

    Linear Dec of Peng et al. 2024 (Table 5) is LinearMix(first=1, last=0).
    """

    first: float
    last: float

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "first", "last")

    def factor(self, x: float) -> float:
        return self.first + (self.last - self.first) * x


@declared
class CosineMix:
    """Half a cosine from `first` to `last`: last + (first - last) (1 + cos(pi x)) / 2."""

    first: float
    last: float

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "first", "last")

    def factor(self, x: float) -> float:
        return self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * x))


@declared
class PeriodicMix:
    """Equal cycles, each at 1 for the share `on` of it, then at `low`: Period of Peng et al. 2024 (Table 5)."""

    cycles: int
    on: float = 0.5
    low: float = 0.0

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "on", "low")
        if self.cycles < 1:
            yield Problem("cycles", self.cycles, "1 or more")

    def factor(self, x: float) -> float:
        # Rounded, or a step on a boundary would fall to either side of it, from cycle to cycle.
        return 1.0 if round(x * self.cycles % 1, 9) % 1 < self.on else self.low


@declared
class WSDMix:
    """Linear rise to 1 over the share `warmup` of training, 1, then down to 0 over the last share `decay`.

    WSD-alpha of Peng et al. 2024 (Table 5). `shape` is that of the decay, see `decayed`.
    """

    warmup: float = 0.0
    decay: float
    shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "cosine"

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "warmup", "decay")
        if self.warmup + self.decay > 1:
            yield Problem("decay", self.decay, f"at most 1 - warmup = {1 - self.warmup:g}")

    def factor(self, x: float) -> float:
        if x < self.warmup:
            return x / self.warmup
        if x < 1 - self.decay or self.decay == 0:
            return 1.0
        return decayed(self.shape, (x - (1 - self.decay)) / self.decay)


@declared
class OnData:
    """A shape for the share of the data, 1 - alpha: factor 1 - share * shape(x).

    WSD-beta of Peng et al. 2024 (Table 5) is OnData(shape=WSDMix(...)).
    """

    shape: Curve
    share: float = 1.0

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "share")

    def factor(self, x: float) -> float:
        return 1 - self.share * self.shape.factor(x)


@declared
class Until:
    """Distillation up to the share `stop` of training: factor 1, then 0."""

    stop: float

    def check(self) -> Iterator[Problem]:
        yield from _check_shares(self, "stop")

    def factor(self, x: float) -> float:
        return 1.0 if x < self.stop else 0.0


Curve: TypeAlias = Steady | LinearMix | CosineMix | PeriodicMix | WSDMix | Until


Mix: TypeAlias = Curve | OnData


def absent(mix: Mix) -> bool:
    """Whether the factor is 0 throughout, so that the run is the LM run."""
    if isinstance(mix, Until):
        return mix.stop == 0
    if isinstance(mix, LinearMix | CosineMix):
        return mix.first == mix.last == 0
    return isinstance(mix, PeriodicMix) and mix.on == mix.low == 0


def decayed(shape: str, u: float) -> float:
    """Height at the share `u` of a decay from 1 to 0.

    linear 1 - u; cosine (1 + cos(pi u)) / 2; 1-sqrt 1 - sqrt(u); exponential 0.5^(10 u), which ends at 1/1024.
    """
    if shape == "linear":
        return 1 - u
    if shape == "cosine":
        return 0.5 * (1 + math.cos(math.pi * u))
    if shape == "1-sqrt":
        return 1 - math.sqrt(u)
    return float(0.5 ** (10 * u))


@declared
class Everywhere:
    """Weight 1 on every token."""


@declared
class ByEntropy:
    """Weight min(1, H(p) / full), entropy in nats: the less sure the teacher is of a token, the more it counts there.

    Bridge-Garden (arXiv 2605.26246) has full = log V.
    """

    full: float

    def check(self) -> Iterator[Problem]:
        if self.full <= 0:
            yield Problem("full", self.full, "above 0 (nats)")


@declared
class ByConfidence:
    """Weight 1 - max p: tokens of which the teacher is sure are left to the data (Bridge-Garden, arXiv 2605.26246)."""


@declared
class Routed:
    """No distillation on the `share` of tokens whose teacher entropy is lowest, full distillation on the others.

    Goyal et al. 2025 (arXiv 2509.01649) drop 15 %. The threshold is the quantile of the run's own slice of the store,
    to a bin of 1/64 nat: tokens of the bin that it lies in are all left to the data.
    """

    share: float = 0.15

    def check(self) -> Iterator[Problem]:
        if not 0 < self.share < 1:
            yield Problem("share", self.share, "between 0 and 1")


TokenRule: TypeAlias = Everywhere | ByEntropy | ByConfidence | Routed


def _check_shares(mix: object, *names: str) -> Iterator[Problem]:
    for name in names:
        if not 0 <= getattr(mix, name) <= 1:
            yield Problem(name, getattr(mix, name), "a share, 0 to 1")
