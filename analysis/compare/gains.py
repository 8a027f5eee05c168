"""Differences of differences: whether an arm's gain over its baseline differs between levels of an axis, such as size.

A gain that is significant at one size and not at another does not show that the sizes differ (Gelman and Stern 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.family import adjust
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.errors import DataError

TREND, FLAT = "per doubling", "no trend"
"""Labels of a trend of gains over sizes and of what it is compared with."""

OF = "gain of"
"""Column of the arm whose gains are compared."""


def compare_gains(
    table: pd.DataFrame,
    *,
    metric: str,
    baseline: str,
    over: str,
    within: Sequence[str] = (),
    sizes: Mapping[str, float] | None = None,
    lower_is_better: bool = True,
    text: str | None = None,
) -> Comparison:
    """Each arm's gain at every level of `over` against its gain at the first level, paired by seed.

    A gain is how much better an arm is than the baseline of its level and seed. The effects have the level as `arm`,
    the first level as `baseline`, and the arm as the last part of the stratum (column `OF`). With `sizes` of three
    levels or more (by label) there is also the least-squares slope of the gain per doubling of size, of seeds that have
    all levels.

    Args:
        table: one row per run: columns `arm`, `seed`, `over`, those of `within`, `metric`, and `text` as in `compare`.

    Raises:
        DataError: no arm has gains at two levels at a seed that they share.
    """
    gain = f"gain in {metric}"
    gains = _subtract_baseline(table, metric, gain, baseline, [*within, over, "seed"], lower_is_better, text)
    levels = list(dict.fromkeys(table[over]))
    gains = gains.sort_values(over, key=lambda column: column.map(levels.index), kind="stable")
    strata = [*within, OF]
    made = []
    for _, part in gains.groupby(strata, sort=False):
        first = part[over].iloc[0]
        fits = part[part["seed"].isin(part.loc[part[over] == first, "seed"])]
        if fits[over].nunique() > 1:
            made.append(compare(fits, metric=gain, baseline=first, arm=over, within=strata, lower_is_better=False,
                                text=text))  # fmt: skip
        if sizes is not None and len(levels) > 2:
            trend = _fit_trend(part.set_index(over), strata, gain, {x: float(np.log2(sizes[x])) for x in levels}, text)
            if len(trend):
                made.append(compare(trend, metric=gain, baseline=FLAT, within=strata, lower_is_better=False,
                                    text=text))  # fmt: skip
    if not made:
        raise DataError(f"no arm has gains at two levels of {over!r} at a seed that they share")
    adjusted = adjust(made)
    effects = tuple(e for comparison in adjusted for e in comparison.effects)
    warnings = tuple(dict.fromkeys(w for comparison in adjusted for w in comparison.warnings))
    return replace(adjusted[0], effects=effects, warnings=warnings)


def _subtract_baseline(
    table: pd.DataFrame,
    metric: str,
    gain: str,
    baseline: str,
    keys: list[str],
    lower_is_better: bool,
    text: str | None,
) -> pd.DataFrame:
    """A row per run of an arm whose baseline has its keys: `keys`, `OF`, `gain`, and `text` by sequence."""
    values = [metric] if text is None else [metric, text]
    base = table.loc[table["arm"] == baseline, [*keys, *values]]
    arms = table.loc[table["arm"] != baseline, [*keys, *values, "arm"]]
    both = arms.merge(base, on=keys, suffixes=("", " of the baseline"))
    sign = -1.0 if lower_is_better else 1.0
    made = both[keys].assign(**{OF: both["arm"], gain: sign * (both[metric] - both[f"{metric} of the baseline"])})
    if text is not None:
        pairs = zip(both[text], both[f"{text} of the baseline"], strict=True)
        known = [(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else None for a, b in pairs]
        made[text] = pd.Series([None if p is None else sign * (p[0] - p[1]) for p in known], made.index, dtype=object)
    return made


def _fit_trend(
    gains: pd.DataFrame, strata: list[str], gain: str, places: Mapping[str, float], text: str | None
) -> pd.DataFrame:
    """Slopes of one arm's gain (index: level) over `places`, as runs of the arm `TREND`, and zeros as those of `FLAT`,
    of seeds that have every level."""
    at = np.array(list(places.values()))
    weights = (at - at.mean()) / np.sum((at - at.mean()) ** 2)
    rows = []
    for seed, part in gains.groupby("seed", sort=False):
        if set(part.index) != set(places):
            continue
        part = part.loc[list(places)]
        row = {name: part[name].iloc[0] for name in strata} | {"seed": seed}
        slope: dict[str, object] = {gain: float(weights @ part[gain].to_numpy())}
        flat: dict[str, object] = {gain: 0.0}
        if text is not None:
            known = [v for v in part[text] if isinstance(v, np.ndarray)]
            whole = len(known) == len(part) and len(set(map(len, known))) == 1
            slope[text] = weights @ np.stack(known) if whole else None
            flat[text] = 0 * known[0] if whole else None
        rows += [row | {"arm": TREND} | slope, row | {"arm": FLAT} | flat]
    return pd.DataFrame(rows)
