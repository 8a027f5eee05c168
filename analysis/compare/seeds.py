"""Comparisons of arms: paired by seed, each arm with the spread of its own differences.

Why not pool spreads over arms: they share the baseline, whose noise is then counted as if it were independent in each.
`python -m tests.analysis.coverage_by_design` has the coverage of this and of four other error models by design.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison, Effect
from pdstudy.analysis.compare.family import adjust
from pdstudy.analysis.compare.uncertainty import Uncertainty, text_error
from pdstudy.analysis.data.points import column, name_rows
from pdstudy.analysis.errors import AnalysisError, DataError, TooFewRuns


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
    text: str | None = None,
) -> Comparison:
    """Compare arms with their baseline, paired by seed.

    An arm's differences to its baseline at equal seeds have mean d and standard deviation s; the interval is
    d +- t(level, seeds - 1) s / sqrt(seeds), which is exact whatever the arms' spreads and the correlation by seed.
    With `text` it also has the part of the text (`pdstudy.analysis.compare.uncertainty`). Verdicts are adjusted for all
    effects of the call; those of several calls that are shown together by `adjust`. Strata and arms come in the order
    in which the table first has them.

    Args:
        table: one row per run: the columns `arm`, `seed`, `metric` and those of `within` (student size, say).
        baseline: label of the arm that all others are compared with, or each arm's own matched control by name. For a
            second column against another baseline (the paper's own), call again.
        relative: differences in per cent of the baseline's mean. margin: half-width of the equivalence region, in the
            unit of the difference. text: column of the metric by sequence of the evaluated text, an array per run, or
            None where a run has none.

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
    strata: Iterable[tuple[tuple[object, ...], pd.DataFrame]] = (
        ((k, g) for k, g in values.groupby(list(within), sort=False)) if within else [((), values)]
    )
    for stratum, rows in strata:
        order = list(dict.fromkeys(rows[arm]))
        wide = rows.pivot(index=seed, columns=arm, values=metric)[order]
        texts = rows.pivot(index=seed, columns=arm, values=text)[order] if text is not None else None
        for a, b in _pairs(wide, reference, stratum):
            both = wide[[a, b]].dropna().index
            sequences = None if texts is None else (list(texts.loc[both, a]), list(texts.loc[both, b]))
            effects.append(_effect(a, b, stratum, wide.loc[both], sequences, relative))
            unpaired += [f"{a} seed {s}" for s in wide.index[wide[a].notna() & wide[b].isna()]]
    warnings = (f"left out for want of a baseline of equal seed: {', '.join(unpaired)}",) if unpaired else ()
    made = Comparison(
        tuple(effects), metric, tuple(within), level, lower_is_better, relative, margin, tuple(unpaired), warnings
    )
    return adjust([made])[0]


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


def _pairs(
    wide: pd.DataFrame, baseline: str | dict[str, str], stratum: tuple[object, ...]
) -> Iterable[tuple[str, str]]:
    """Arms and their baselines. Raises `DataError` where one has no runs or they share no seed."""
    wanted = baseline if isinstance(baseline, Mapping) else {a: baseline for a in wide.columns if a != baseline}
    where = f" at {', '.join(map(str, stratum))}" if stratum else ""
    for a, b in wanted.items():
        for name in (a, b):
            if name not in wide.columns:
                raise DataError(f"no runs of arm {name!r}{where}; there are {', '.join(map(str, wide.columns))}")
        if not wide[[a, b]].notna().all(axis=1).any():
            raise DataError(f"arms {a!r} and {b!r} share no seed{where}; a paired comparison needs runs of equal seeds")
    if not wanted:
        raise DataError(f"nothing to compare: the only arm is {', '.join(map(str, wide.columns))}")
    return ((str(a), str(b)) for a, b in wanted.items())


def _effect(
    arm: str,
    baseline: str,
    stratum: tuple[object, ...],
    wide: pd.DataFrame,
    sequences: tuple[list[object], list[object]] | None,
    relative: bool,
) -> Effect:
    """One arm against its baseline, by seeds that both have; `sequences` of arm and baseline, by seed."""
    ours, theirs = wide[arm].to_numpy(), wide[baseline].to_numpy()
    scale = 100.0 / abs(theirs.mean()) if relative else 1.0
    d = (ours - theirs) * scale
    uncertainty = None
    # Coarse numbers (shares of a few items) that agree, but for rounding, say nothing of their spread.
    if len(d) > 1 and np.ptp(d) > 1e-9 * np.abs(d).max():
        uncertainty = Uncertainty(float(d.std(ddof=1)) / math.sqrt(len(d)), len(d) - 1, *_text(sequences, scale))
    return Effect(arm, baseline, stratum, tuple(ours.tolist()), tuple(theirs.tolist()), float(d.mean()), uncertainty)


def _text(sequences: tuple[list[object], list[object]] | None, scale: float) -> tuple[float, int]:
    """Standard error over the text and its degrees of freedom; (0, 0) where a run lacks its sequences or has others."""
    known = [each for part in sequences or () for each in part if isinstance(each, np.ndarray)]
    if sequences is None or len(known) < 2 * len(sequences[0]) or len({len(each) for each in known}) > 1:
        return 0.0, 0
    return text_error([scale * (a - b) for a, b in zip(known[: len(known) // 2], known[len(known) // 2 :])])
