"""Noise floor: the difference that one sees between two runs that are equal but for a seed, or for the text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pdstudy.analysis.compare.uncertainty import BLOCKS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A standard deviation of differences, in the metric's unit, with its degrees of freedom; NaN and 0 where nothing
    tells it."""

    sd: float
    dof: int


NONE = Spread(math.nan, 0)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the difference between two runs of one setting, by what differs, pooled over settings.

    `student`: the student's seed (weights and order), as if independent. `paired`: an arm minus its baseline at one
    seed, over seeds. `teacher`: the teacher's seed. `text`: the sequences evaluated on. `correlation` by seed between
    arms and baseline, from the variances of both and of their differences: above zero, pairing gains.
    """

    student: Spread
    paired: Spread
    teacher: Spread
    text: Spread
    correlation: float

    @property
    def difference(self) -> float:
        """Standard deviation of a comparison's paired differences; without a baseline that of independent runs."""
        return self.paired.sd if self.paired.dof else self.student.sd


def measure_noise(
    runs: pd.DataFrame, metric: str, *, baseline: str | None, text: str | None = None, twins: str | None = None
) -> Noise:
    """The noise floor of one stratum.

    Args:
        runs: one row per run: `arm`, `seed`, the metric, and by name: `text`, arrays by sequence; `twins`, a label that
            runs share which differ in their teacher's seed alone.
    """
    wide = runs.pivot_table(index="seed", columns="arm", values=metric, sort=False)
    within = _pool(wide[arm].dropna() for arm in wide)
    paired, correlation = NONE, math.nan
    if baseline in wide:
        others = [wide[[arm, baseline]].dropna() for arm in wide if arm != baseline]
        pairs = [(p.iloc[:, 0].to_numpy(), p.iloc[:, 1].to_numpy()) for p in others if len(p) > 1]
        pairs = [(a, b) for a, b in pairs if not np.array_equal(a, b)]
        paired = _pool(a - b for a, b in pairs)
        apart = sum(a.var(ddof=1) + b.var(ddof=1) for a, b in pairs)
        together = sum(2 * math.sqrt(a.var(ddof=1) * b.var(ddof=1)) for a, b in pairs)
        shared = apart - sum((a - b).var(ddof=1) for a, b in pairs)
        correlation = shared / together if together > 0 else math.nan
    teacher = _pool(part[metric] for _, part in runs.groupby(twins)) if twins is not None else NONE
    return Noise(
        student=Spread(math.sqrt(2) * within.sd, within.dof),
        paired=paired,
        teacher=Spread(math.sqrt(2) * teacher.sd, teacher.dof),
        text=_measure_text(runs, text) if text is not None else NONE,
        correlation=correlation,
    )


def _pool(samples: Iterable[pd.Series | Array]) -> Spread:
    """Standard deviation pooled over samples of two or more."""
    known = [np.asarray(sample, dtype=np.float64) for sample in samples if len(sample) > 1]
    dof = sum(len(sample) - 1 for sample in known)
    return Spread(math.sqrt(sum(float(((s - s.mean()) ** 2).sum()) for s in known) / dof), dof) if dof else NONE


def _measure_text(runs: pd.DataFrame, text: str) -> Spread:
    """Standard error over the text of the difference between two seeds of an arm, pooled over pairs of seeds."""
    squares: list[float] = []
    dof = 0
    for _, part in runs.groupby("arm", sort=False):
        known = [v for v in part[text] if isinstance(v, np.ndarray)]
        for a, b in itertools.combinations(known, 2):
            count = min(BLOCKS, len(a))
            if len(a) == len(b) and count > 1:
                means = [float(block.mean()) for block in np.array_split(a - b, count)]
                squares.append(float(np.var(means, ddof=1)) / count)
                dof = max(dof, count - 1)
    return Spread(math.sqrt(float(np.mean(squares))), dof) if squares else NONE


def label_twins(runs: pd.DataFrame, teachers: Mapping[str, str]) -> pd.Series:
    """A label that runs share which are equal, the student's seed too, but for the seed of their teacher.

    `runs` is the table of `load_runs`; `teachers` gives, by run key, the teacher's configuration without its seed.
    """
    fields = [c for c in runs if str(c).startswith("config.")]
    settings = runs[fields].map(str).agg("|".join, axis=1) if fields else pd.Series("", index=runs.index)
    return settings + "|" + runs["teacher"].map(lambda key: teachers.get(key, str(key)))
