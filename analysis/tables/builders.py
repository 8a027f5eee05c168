"""Tables from results: comparisons, designs over datasets, fits, model selection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.compare.gains import FLAT
from pdstudy.analysis.data.study_record import axis_title
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.findings import parameter_frame
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.tables.table import Table, TableCell

MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """A number for a table: `digits` significant ones, a true minus sign, an en dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return f"{MINUS}∞" if value < 0 else "∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:{'+' if signed else ''}.{digits - 1}e}".replace("e+", "e").replace("-", MINUS, value < 0)
    value = float(f"{value:.{digits - 1}e}")  # 124.5 to two digits is 120, not 1.2e+02
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else digits - 1
    return fixed(value, places, signed=signed)


def probability(p: float) -> str:
    """A p value as papers print it."""
    return "–" if math.isnan(p) else ("<0.001" if p < 0.001 else f"{p:.2g}")


def places_for(error: float) -> int:
    """Decimal places that an uncertainty carries: two significant digits of it."""
    return 3 if not error > 0 or math.isinf(error) else max(0, 1 - math.floor(math.log10(error)))


def fixed(value: float, places: int, *, signed: bool = False) -> str:
    """A number with this many decimal places; one that is rounded to 0 has no sign."""
    value = round(value, places) if math.isfinite(value) else value
    signed = signed and value != 0
    value = 0.0 if value == 0 else value
    return "–" if math.isnan(value) else f"{value:{'+' if signed else ''}.{places}f}".replace("-", MINUS)


def shared_places(errors: Sequence[float]) -> int:
    """Decimal places of a column of numbers with these uncertainties: those that the middle one of them carries."""
    known = sorted(e for e in errors if e > 0 and math.isfinite(e))
    return places_for(known[len(known) // 2]) if known else 3


def comparison_table(comparison: Comparison, caption: str = "", label: str = "") -> Table:
    """A row per arm, below that of its baseline: value, difference with its own and its outer interval, adjusted p,
    verdict. The best of a stratum is bold."""
    columns = (*map(axis_title, comparison.within), "arm", "baseline", "seeds", comparison.metric, "difference", "low",
               "high", "outer low", "outer high", "p", "verdict")  # fmt: skip
    level = f"{comparison.level:.0%}".replace("%", " %")
    ends = {"low": f"{level} low", "high": f"{level} high"}
    heads = tuple(ends.get(c, c) for c in columns)
    places = shared_places([(e.high - e.low) / 2 for e in comparison.effects])
    values = [v for e in comparison.effects for v in (e.value, e.baseline_value)]
    digits = max(0, 3 - math.floor(math.log10(max(map(abs, values))))) if any(values) else 3
    best: dict[tuple[object, ...], float] = {}
    for e in comparison.effects:
        ahead = min if comparison.lower_is_better else max
        best[e.stratum] = ahead(best.get(e.stratum, e.value), e.value, e.baseline_value)
    rows: list[tuple[TableCell | str, ...]] = []
    for stratum, baseline in dict.fromkeys((e.stratum, e.baseline) for e in comparison.effects):
        part = [e for e in comparison.effects if (e.stratum, e.baseline) == (stratum, baseline)]
        whole = max(part, key=lambda e: e.seeds)
        value = TableCell(fixed(whole.baseline_value, digits), whole.baseline_value,
                          best=whole.baseline_value == best[stratum])  # fmt: skip
        seeds = TableCell(str(whole.seeds), whole.seeds)
        none = [TableCell("–", math.nan)] * 6
        if baseline != FLAT:  # which is no arm
            rows.append((*map(str, stratum), baseline, "–", seeds, value, *none, "the baseline"))
        rows += [(*map(str, stratum), e.arm, baseline, *_describe(e, digits, places, best[stratum])) for e in part]
    return Table(columns, tuple(rows), " ".join(filter(None, [caption, comparison.caption()])), label, heads)


def _describe(e: Effect, digits: int, places: int, best: float) -> tuple[TableCell | str, ...]:
    """Cells of an effect: seeds, value, difference, intervals, p, verdict."""
    noise = e.verdict in (Verdict.WITHIN_NOISE, Verdict.EQUIVALENT)
    ends = (e.low, e.high, e.family_low, e.family_high)
    return (
        TableCell(str(e.seeds), e.seeds),
        TableCell(fixed(e.value, digits), e.value, best=e.value == best),
        TableCell(fixed(e.difference, places, signed=True), e.difference, noise=noise),
        *(TableCell(fixed(end, places, signed=True), end) for end in ends),
        TableCell(probability(e.p), e.p),
        e.verdict.value,
    )


def design_table(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str],
    baseline: str,
    arm: str = "arm",
    lower_is_better: bool = False,
    caption: str = "",
    label: str = "",
    percent: bool = True,
) -> Table:
    """Rows of arms, columns of datasets and their average, as the paper has them; the average with its gain.

    Args:
        table: one row per run (seeds are averaged): `arm` and the metrics. percent: the gain is relative, in per cent.

    Raises:
        DataError: no row of the baseline.
    """
    means = table.groupby(arm, sort=False)[list(metrics)].mean()
    seeds = table.groupby(arm, sort=False).size()
    if baseline not in means.index:
        raise DataError(f"no runs of the baseline {baseline!r}; there are {', '.join(map(str, means.index))}")
    means["average"] = means.mean(axis=1)
    count = {str(name): int(n) for name, n in seeds.items()}
    base = float(means.loc[baseline, "average"])  # type: ignore[arg-type]
    best = means.min() if lower_is_better else means.max()
    rows: list[tuple[TableCell | str, ...]] = []
    for name, row in means.iterrows():
        gain = 100 * (row["average"] / base - 1) if percent else row["average"] - base
        cells: list[TableCell | str] = [str(name), TableCell(str(count[str(name)]), count[str(name)])]
        cells += [
            TableCell(number(row[m], 3), float(row[m]), best=bool(row[m] == best[m])) for m in [*metrics, "average"]
        ]
        shown = "–" if name == baseline else fixed(gain, 2 if percent else 3, signed=True) + (" %" if percent else "")
        rows.append((*cells, TableCell(shown, float(gain))))
    counts = sorted(set(count.values()))
    n = (
        f"n = {counts[0]} seed{'s' if counts[0] > 1 else ''}"
        if len(counts) == 1
        else f"n = {counts[0]} to {counts[-1]} seeds"
    )
    text = f"{caption} Means over seeds ({n}); Δ: average against {baseline}, without an interval here.".strip()
    return Table((arm, "seeds", *metrics, "average", "Δ"), tuple(rows), text, label)


def fit_table(
    fit: Fit,
    bootstrap: Bootstrap | None = None,
    published: Mapping[str, float] | None = None,
    caption: str = "",
    label: str = "",
) -> Table:
    """Coefficients of one fit with standard errors, intervals and, where given, published values beside them."""
    frame = parameter_frame(fit)
    intervals = bootstrap.intervals() if bootstrap else {}
    errors = bootstrap.errors() if bootstrap else {}
    columns = [
        "parameter",
        "estimate",
        *(["s.e.", "low", "high"] if bootstrap else []),
        *(["published"] if published else []),
    ]
    rows: list[tuple[TableCell | str, ...]] = []
    for _, row in frame.iterrows():
        name, value = str(row["parameter"]), float(row["value"])
        status = str(row["status"])
        # A number that the data don't tell isn't printed; the CSV has it.
        shown = number(value) if status in ("", "fixed", "tied") else status
        cells: list[TableCell | str] = [name, TableCell(shown, value)]
        if bootstrap:
            known = status in ("", "tied")
            low, high = intervals[name] if known else (math.nan, math.nan)
            error = errors[name] if known else math.nan
            cells += [
                TableCell(number(error, 2), error),
                TableCell(number(low), low),
                TableCell(number(high), high),
            ]
        if published:
            cells.append(TableCell(number(published.get(name, math.nan)), published.get(name)))
        rows.append(tuple(cells))
    text = f"{fit.law.name}, {len(fit.points)} runs, Huber δ = {fit.problem.delta:.3g} on log residuals"
    text += (
        f", {len(bootstrap.theta)} bootstraps over {bootstrap.method}, 95 % percentiles (seed {bootstrap.seed})"
        if bootstrap
        else ""
    )
    return Table(tuple(columns), tuple(rows), f"{caption} {text}.".strip(), label)


def two_baselines(matched: Comparison, other: Comparison, caption: str = "", label: str = "") -> Table:
    """One row per arm: its difference to the matched control and to a second baseline (the paper's own).

    Raises:
        DataError: the two comparisons have no arm in common.
    """
    second = {(e.arm, e.stratum): e for e in other.effects}
    rows: list[tuple[TableCell | str, ...]] = []
    for e in matched.effects:
        if (e.arm, e.stratum) not in second:
            continue
        cells: list[TableCell | str] = [*(str(s) for s in e.stratum), e.arm]
        for effect in (e, second[e.arm, e.stratum]):
            places = places_for((effect.high - effect.low) / 2)
            noise = effect.verdict in (Verdict.WITHIN_NOISE, Verdict.EQUIVALENT)
            cells += [
                effect.baseline,
                TableCell(fixed(effect.difference, places, signed=True), effect.difference, noise=noise),
                TableCell(fixed(effect.low, places, signed=True), effect.low),
                TableCell(fixed(effect.high, places, signed=True), effect.high),
            ]
        rows.append(tuple(cells))
    if not rows:
        raise DataError("the two comparisons have no arm in common")
    columns = [*matched.within, "arm"]
    for kind in ("matched control", "second baseline"):
        columns += [kind, f"Δ {kind.split()[0]}", "low", "high"]
    return Table(tuple(columns), tuple(rows), f"{caption} {matched.caption()}".strip(), label)
