"""Comparisons of arms: paired by seed, one pooled spread, a verdict that can't claim more than the seeds carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.points import column, name_rows
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns

Key = TypeVar("Key")


def compare(
    table: pd.DataFrame,
    *,
    metric: str,
    baseline: object | Mapping[object, object],
    arm: str = "arm",
    seed: str = "seed",
    within: Sequence[str] = (),
    lower_is_better: bool = True,
    relative: bool = False,
    margin: float | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare arms with their baseline, paired by seed.

    Each arm's differences to its baseline at equal seeds have mean d and variance s^2. The variances of all arms of a
    stratum are pooled (three seeds alone give an interval with 2 degrees of freedom); the interval is
    d +- t(level, dof) s_pooled / sqrt(seeds). Arms that are the same computation have no spread and aren't pooled.
    An arm with one seed borrows the pooled spread of the others; without any, it has no interval. Strata and arms come
    in the order in which the table first has them.

    Args:
        table: one row per run: the columns `arm`, `seed`, `metric` and those of `within` (student size, say).
        baseline: label of the arm that all others are compared with, or each arm's own matched control by name. For a
            second column against another baseline (the paper's own), call again.
        relative: differences in per cent of the baseline's mean. margin: half-width of the equivalence region, in the
            unit of the difference.

    Raises:
        DataError: a missing column, NaN metric, two runs of one arm and seed, or no baseline.
    """
    for name, meaning in ((arm, "arms"), (seed, "seeds"), *((w, "strata") for w in within)):
        if name not in table.columns:
            column(table, name, meaning)
    named = table.assign(**{c: _name_labels(table, c) for c in (arm, seed)})
    for name in within:
        _check_labels(table, name)
    values = named.assign(**{metric: column(table, metric, "the metric")})
    if isinstance(baseline, Mapping):
        reference: str | dict[str, str] = {name_label(a): name_label(b) for a, b in baseline.items()}
    else:
        reference = _find_arm(baseline, values[arm])
    keys = [*within, arm, seed]
    twice = values.duplicated(subset=keys, keep=False)
    if twice.any():
        first = values.loc[twice, keys].iloc[0].to_dict()
        raise DataError(f"more than one run for {first}; keep one per arm and seed")
    if margin is not None and not margin > 0:
        raise AnalysisError(f"the equivalence margin is {margin}; it must be positive, in the unit of the difference")
    effects: list[Effect] = []
    unpaired: list[str] = []
    warnings: list[str] = []
    strata: Iterable[tuple[tuple[object, ...], pd.DataFrame]] = (
        ((k, g) for k, g in values.groupby(list(within), sort=False)) if within else [((), values)]
    )
    for stratum, rows in strata:
        wide = rows.pivot(index=seed, columns=arm, values=metric)[list(dict.fromkeys(rows[arm]))]
        pairs = _pairs(wide, reference, stratum)
        effects += _effects(pairs, stratum, lower_is_better, relative, margin, level)
        unpaired += [f"{a} seed {s}" for a, b in pairs for s in wide.index[wide[a].notna() & wide[b].isna()]]
        warnings += _unequal(pairs, stratum, relative)
    if unpaired:
        warnings.append(f"left out for want of a baseline of equal seed: {', '.join(unpaired)}")
    return Comparison(
        tuple(effects),
        metric,
        tuple(within),
        level,
        lower_is_better,
        relative,
        margin,
        tuple(unpaired),
        tuple(warnings),
    )


def bootstrap_seeds(
    differences: Sequence[float], level: float = 0.95, n: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a mean paired difference by resampling seeds.

    Raises:
        TooFewRuns: fewer than 8 seeds; resampling so few gives intervals that are far too narrow.
    """
    found = np.asarray(differences, dtype=np.float64)
    if len(found) < 8:
        raise TooFewRuns(
            f"{len(found)} seeds; a bootstrap over seeds needs 8 or more. Use the t intervals of `compare`"
        )
    means = np.random.default_rng(seed).choice(found, size=(n, len(found))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


_Pairs = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def name_label(value: object) -> str:
    """The name of an arm or seed: text as it is, 3.0 as 3, 0.001 as 0.001."""
    number = isinstance(value, (float, np.floating)) and np.isfinite(value)
    return str(int(value)) if number and value == int(value) else str(value)  # type: ignore[call-overload]


def _check_labels(table: pd.DataFrame, name: str) -> None:
    """Raise `DataError` where a label is missing: pandas would leave its runs out without a word."""
    missing = np.flatnonzero([isinstance(v, float) and np.isnan(v) for v in table[name]])
    if len(missing):
        raise DataError(
            f"column {name!r} has no label in {name_rows(table, missing)}; where the label is the text None or NA, "
            "read the file with keep_default_na=False"
        )


def _name_labels(table: pd.DataFrame, name: str) -> list[str]:
    _check_labels(table, name)
    return [name_label(v) for v in table[name]]


def _find_arm(baseline: object, arms: pd.Series) -> str:
    """The label of the baseline as the table has it: 0.001 also where the table has 1e-3."""
    wanted, known = name_label(baseline), list(dict.fromkeys(arms))
    if wanted in known:
        return wanted
    equal = [a for a in known if _read_number(a) == _read_number(wanted) is not None]
    return equal[0] if len(equal) == 1 else wanted


def _read_number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _pairs(wide: pd.DataFrame, baseline: str | dict[str, str], stratum: tuple[object, ...]) -> _Pairs:
    """(arm, baseline) to the values of both at the seeds that both have."""
    wanted = baseline if isinstance(baseline, Mapping) else {a: baseline for a in wide.columns if a != baseline}
    pairs: _Pairs = {}
    for a, b in wanted.items():
        where = f" at {', '.join(map(str, stratum))}" if stratum else ""
        for name in (a, b):
            if name not in wide.columns:
                raise DataError(f"no runs of arm {name!r}{where}; there are {', '.join(map(str, wide.columns))}")
        both = wide[[a, b]].dropna()
        if not len(both):
            raise DataError(f"arms {a!r} and {b!r} share no seed{where}; a paired comparison needs runs of equal seeds")
        pairs[str(a), str(b)] = both[a].to_numpy(), both[b].to_numpy()
    if not pairs:
        raise DataError(f"nothing to compare: the only arm is {', '.join(map(str, wide.columns))}")
    return pairs


def _scaled(ours: np.ndarray, theirs: np.ndarray, relative: bool) -> np.ndarray:
    return (ours - theirs) * (100.0 / abs(theirs.mean()) if relative else 1.0)


def _effects(
    pairs: _Pairs, stratum: tuple[object, ...], lower: bool, relative: bool, margin: float | None, level: float
) -> list[Effect]:
    same = {key: bool((a == b).all()) for key, (a, b) in pairs.items()}
    found = {key: _scaled(a, b, relative) for key, (a, b) in pairs.items()}
    spread = [d for key, d in found.items() if not same[key] and len(d) > 1]
    dof = sum(len(d) - 1 for d in spread)
    # Coarse numbers (shares of a few items) that agree, but for rounding, say nothing of their spread.
    if all(np.ptp(d) <= 1e-9 * np.abs(d).max() for d in spread):
        dof = 0
    pooled = float(np.sqrt(sum(((d - d.mean()) ** 2).sum() for d in spread) / dof)) if dof else float("nan")
    raw = {}
    for key, d in found.items():
        if dof and not same[key]:
            error = pooled / np.sqrt(len(d))
            raw[key] = float(2 * stats.t.sf(abs(d.mean()) / error, dof))
    adjusted = holm(raw)
    # Two one-sided tests: the larger p says whether the difference may lie beyond the nearer end of the margin.
    beyond = {
        key: float(stats.t.sf((margin - abs(found[key].mean())) / (pooled / np.sqrt(len(found[key]))), dof))
        for key in (raw if margin is not None else ())
    }
    inside = {key for key, p in holm(beyond).items() if p < 1 - level}
    effects = []
    for key, d in found.items():
        a, b = pairs[key]
        mean, p = float(d.mean()), adjusted.get(key, float("nan"))
        half = pooled / np.sqrt(len(d)) if dof and not same[key] else float("nan")
        reach = half * float(stats.t.ppf((1 + level) / 2, dof)) if dof else float("nan")
        if same[key]:
            verdict = Verdict.SAME
        elif not dof:
            verdict = Verdict.NO_SPREAD
        elif p < 1 - level:
            verdict = Verdict.BETTER if (mean < 0) == lower else Verdict.WORSE
        else:
            verdict = Verdict.EQUIVALENT if key in inside else Verdict.WITHIN_NOISE
        effects.append(
            Effect(
                *key, stratum, len(d), float(a.mean()), float(b.mean()), mean, mean - reach, mean + reach, p,
                0 if same[key] else dof, verdict,
            )
        )  # fmt: skip
    return effects


def holm(raw: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's adjustment: valid whatever the dependence, and the arms of one baseline do depend on each other."""
    adjusted: dict[Key, float] = {}
    highest = 0.0
    for i, (key, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(raw) - i)))
        adjusted[key] = highest
    return adjusted


def _unequal(pairs: _Pairs, stratum: tuple[object, ...], relative: bool) -> list[str]:
    """Pooling assumes one spread; say where it isn't so (Bartlett, p < 0.01)."""
    spread = [_scaled(a, b, relative) for a, b in pairs.values() if len(a) > 1 and not (a == b).all()]
    spread = [d for d in spread if d.std() > 0]
    if len(spread) < 2 or stats.bartlett(*spread).pvalue >= 0.01:
        return []
    where = f" at {', '.join(map(str, stratum))}" if stratum else ""
    return [
        f"The arms' spreads differ{where} (Bartlett, p < 0.01): the pooled interval is too wide for some arms and "
        "too narrow for others"
    ]
