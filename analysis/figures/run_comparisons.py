"""Figures of runs and comparisons: learning curves, effects, bars, gains."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.data.points import column
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.figures.hover import say_points
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.core.format import si

MOST_NAMED = 60
"""Most arms of a figure of differences that are named beside their marks; of more, marks alone say which they are."""


@redrawable
def learning_curves(
    curves: pd.DataFrame,
    *,
    x: str = "tokens",
    y: str = "loss",
    arm: str = "arm",
    seed: str = "seed",
    x_label: str = "training tokens",
    y_label: str = "loss (nats per token)",
    markers: bool = False,
    logarithmic: bool = False,
) -> Plot:
    """Mean over seeds and range between the lowest and the highest seed, one line per arm.

    `curves` has one row per evaluation of a run: columns x, y, arm, seed. Only points that every seed of an arm
    reached are averaged, so that a run that ended early can't bend the mean; it is drawn on its own, thin.
    `markers`: mark every point (few evaluations), not about six per line. `logarithmic`: the axis of x.
    """
    values = curves.assign(**{x: column(curves, x, "the axis"), y: column(curves, y, "the curve")})
    with styled():
        figure, (axes,) = panels(COLUMN, 2.6)
        rows, counts = [], []
        for i, (name, part) in enumerate(values.groupby(arm, sort=False)):
            wide_part = part.pivot_table(index=x, columns=seed, values=y, aggfunc="last", sort=True)
            whole = wide_part.dropna()
            counts.append(wide_part.shape[1])
            style = look(i)
            if len(whole):
                mean, low, high = whole.mean(axis=1), whole.min(axis=1), whole.max(axis=1)
                label = f"{plain(name)} (n = {wide_part.shape[1]})"
                axes.plot(
                    whole.index, mean, color=style.colour, linestyle=style.dash, marker=style.marker, label=label,
                    markevery=1 if markers else max(1, len(whole) // 6), markersize=3.5,
                )  # fmt: skip
                if wide_part.shape[1] > 1:
                    axes.fill_between(whole.index, low, high, color=style.colour, alpha=0.18, linewidth=0)
                rows.append(
                    pd.DataFrame(
                        {"arm": name, x: whole.index, "mean": mean.values, "low": low.values, "high": high.values}
                    )
                )
                say_points(axes, whole.index, mean, (f"{name}, {si(at)}: {v:.4f}" for at, v in zip(whole.index, mean)))
            rest = wide_part.loc[wide_part.index > whole.index.max()] if len(whole) else wide_part
            for s in rest.columns:
                axes.plot(rest.index, rest[s], color=style.colour, linewidth=0.6, alpha=0.7)
        counts_axis(axes, logarithmic=logarithmic)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend()
    n = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    band = "; bands span the lowest and the highest seed" if max(counts) > 1 else ""
    data = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return Plot(figure, data, f"{y_label.capitalize()} against {x_label}: mean over seeds (n = {n}){band}.")


@redrawable
def effects(comparison: Comparison, *, label: str = "", arms: str = "") -> Plot:
    """Differences to the baseline, each with its own interval (thick) and the outer one (thin); hollow marks are within
    noise, crosses the same computation. `arms` says what their names are. More than `MOST_NAMED` stand in the order of
    their differences, without names."""
    shown = list(comparison.effects)
    named = len(shown) <= MOST_NAMED
    shown = shown if named else sorted(shown, key=lambda e: e.difference)
    with styled():
        figure, (axes,) = panels(COLUMN, 0.75 + (0.22 * len(shown) if named else 6.0))
        names = []
        for i, e in enumerate(shown):
            colour = {Verdict.BETTER: look(0).colour, Verdict.WORSE: look(1).colour}.get(e.verdict, BASELINE.colour)
            solid = e.verdict in (Verdict.BETTER, Verdict.WORSE)
            marker = {Verdict.SAME: "x", Verdict.BETTER: "o", Verdict.WORSE: "s"}.get(e.verdict, "o")
            if not np.isnan(e.low):
                axes.plot([e.family_low, e.family_high], [i, i], color=colour, linewidth=0.6, solid_capstyle="butt")
                axes.plot([e.low, e.high], [i, i], color=colour, linewidth=1.8, solid_capstyle="butt")
            size, face = 4.5 if named else 2.5, colour if solid else "white"
            axes.plot(e.difference, i, marker, color=colour, markerfacecolor=face, markersize=size)
            names.append(f"{' '.join(map(str, e.stratum))} {e.arm}".strip())
        say_points(axes, [e.difference for e in shown], range(len(shown)), map(_say_effect, names, shown))
        axes.axvline(0, color=BASELINE.colour, linewidth=0.8, linestyle=BASELINE.dash)
        if comparison.margin is not None:
            axes.axvspan(-comparison.margin, comparison.margin, color="#000000", alpha=0.06, linewidth=0)
        axes.set_yticks(range(len(shown)), [*map(plain, names)]) if named else axes.set_yticks([])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_ylabel(plain(arms) if named else f"{len(shown)} arms, in the order of their differences")
        unit = " (%)" if comparison.relative else ""
        axes.set_xlabel(label or plain(f"difference of {comparison.metric} to the baseline{unit}"))
    text = comparison.caption() + " Thin: outer interval. Hollow: within noise; cross: same computation."
    text += " Grey region: equivalence margin." if comparison.margin is not None else ""
    return Plot(figure, comparison.to_frame(), text, _see_effects(names, shown, comparison.metric))


def _say_effect(name: str, e: Effect) -> str:
    interval = "" if np.isnan(e.low) else f" [{e.low:+.4g}, {e.high:+.4g}]"
    return f"{name}: {e.difference:+.4g}{interval}, {e.verdict.value}"


def _see_effects(names: list[str], shown: list[Effect], metric: str) -> str:
    """The figure of differences in words."""
    if not shown:
        return ""
    counts = ", ".join(
        f"{sum(e.verdict is v for e in shown)} {v.value}" for v in Verdict if any(e.verdict is v for e in shown)
    )
    order = sorted(range(len(shown)), key=lambda i: shown[i].difference)
    ends = f"from {shown[order[0]].difference:+.3g} ({names[order[0]]})"
    ends += f" to {shown[order[-1]].difference:+.3g} ({names[order[-1]]})" if len(shown) > 1 else ""
    return f"{len(shown)} differences of {metric}, {ends}: {counts}."


@redrawable
def bars(
    table: pd.DataFrame,
    *,
    group: str = "dataset",
    arm: str = "arm",
    value: str = "value",
    low: str = "low",
    high: str = "high",
    y_label: str = "accuracy (%)",
    caption: str,
) -> Plot:
    """One group of bars per dataset, one bar per arm, each with its interval (columns `low` and `high`; NaN: none)."""
    groups, arms = list(dict.fromkeys(table[group])), list(dict.fromkeys(table[arm]))
    hatches = ("", "//", "..", "\\\\", "xx", "++", "o")
    with styled():
        figure, (axes,) = panels(PAGE, 2.3)
        width = 0.8 / len(arms)
        for i, name in enumerate(arms):
            part = table[table[arm] == name].set_index(group).reindex(groups)
            at = np.arange(len(groups)) + (i - (len(arms) - 1) / 2) * width
            axes.bar(
                at, part[value], width * 0.92, color=look(i).colour, label=plain(name), hatch=hatches[i % len(hatches)],
                edgecolor="white", linewidth=0,
            )  # fmt: skip
            reach = _reach(part, value, low, high)
            if reach is not None:
                axes.errorbar(at, part[value], yerr=reach, fmt="none", ecolor="black", elinewidth=0.8)
        axes.set_xticks(range(len(groups)), [plain(g) for g in groups])
        axes.grid(axis="x", visible=False)
        axes.set_ylabel(y_label)
        axes.legend(ncols=len(arms), loc="upper left", bbox_to_anchor=(0, 1.14))
    return Plot(figure, table.reset_index(drop=True), caption)


@redrawable
def gain_and_kept(
    table: pd.DataFrame,
    *,
    x: str,
    gain: str = "difference",
    low: str = "low",
    high: str = "high",
    kept: str = "kept",
    x_label: str,
    gain_label: str = "gain over LM (%)",
    logarithmic: bool = False,
    caption: str,
) -> Plot:
    """Gain against p or k with its interval; kept logits per token on the twin axis (the paper's figures 2, 3)."""
    rows = table.sort_values(x)
    with styled():
        figure, (axes,) = panels(COLUMN, 2.4)
        first, second = look(0), look(1)
        twin = axes.twinx()
        twin.spines["right"].set_visible(True)
        twin.grid(visible=False)
        (right,) = twin.plot(rows[x], rows[kept], color=second.colour, marker=second.marker, linestyle=second.dash,
                             markerfacecolor="white")  # fmt: skip
        reach = _reach(rows, gain, low, high)
        left = axes.errorbar(
            rows[x], rows[gain], yerr=reach, color=first.colour, marker=first.marker, linestyle=first.dash
        )
        axes.axhline(0, color=BASELINE.colour, linewidth=0.8)
        say_points(axes, rows[x], rows[gain], _say_gains(rows, x, gain, low, high))
        say_points(twin, rows[x], rows[kept], (f"{a:g}: {n:.3g} kept" for a, n in zip(rows[x], rows[kept])))
        if logarithmic:
            counts_axis(axes)
        if rows[kept].max() > 30 * rows[kept].min() > 0:
            counts_axis(twin, "y")
        axes.set_zorder(twin.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.set_xlabel(x_label)
        axes.set_ylabel(gain_label, color=first.colour)
        twin.set_ylabel("kept logits per token", color=second.colour)
        axes.legend(
            [left, right], ["gain (left)", "kept logits (right)"], ncols=2, loc="lower left", bbox_to_anchor=(0, 1)
        )
    seen = f"Gain {_see_range(rows[gain], rows[x])}; kept logits {_see_range(rows[kept], rows[x])}."
    return Plot(figure, rows.reset_index(drop=True), caption, seen)


def _say_gains(rows: pd.DataFrame, x: str, gain: str, low: str, high: str) -> list[str]:
    return [f"{a:g}: {g:+.4g} [{lo:+.4g}, {hi:+.4g}]" for a, g, lo, hi in rows[[x, gain, low, high]].to_numpy()]


def _see_range(values: pd.Series, at: pd.Series) -> str:
    """Lowest and highest of a line and where they are, in words."""
    if values.isna().all():
        return "not known"
    low, high = int(values.argmin()), int(values.argmax())
    return f"from {values.iloc[low]:.3g} at {at.iloc[low]:g} to {values.iloc[high]:.3g} at {at.iloc[high]:g}"


@redrawable
def gain_by_size(
    table: pd.DataFrame,
    *,
    size: str = "student",
    gain: str = "difference",
    low: str = "low",
    high: str = "high",
    teacher: str = "teacher",
    size_label: str = "student parameters (non-embedding)",
    gain_label: str = "gain over LM (%)",
    arms: str = "teacher",
    caption: str,
) -> Plot:
    """Gain over the matched LM run against student size, one line per teacher (the paper's figure 4), or per arm of
    another kind (`arms`: its name, over the legend)."""
    if not len(table):
        raise DataError("no runs to draw a gain against size from")
    seen = []
    with styled():
        figure, (axes,) = panels(COLUMN, 2.4)
        for i, (name, part) in enumerate(table.groupby(teacher, sort=False)):
            part = part.sort_values(size)
            style = look(i)
            reach = _reach(part, gain, low, high)
            # A small shift keeps the error bars of two teachers apart.
            at = part[size] * (1 + 0.02 * i)
            axes.errorbar(at, part[gain], yerr=reach, color=style.colour, marker=style.marker, linestyle=style.dash,
                          label=plain(name))  # fmt: skip
            say_points(axes, at, part[gain], (f"{name}, {each}" for each in _say_gains(part, size, gain, low, high)))
            seen.append(f"{name} {_see_range(part[gain], part[size])}")
        axes.axhline(0, color=BASELINE.colour, linewidth=0.8)
        counts_axis(axes)
        axes.set_xlabel(size_label)
        axes.set_ylabel(gain_label)
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), title=plain(arms))
    return Plot(figure, table.reset_index(drop=True), caption, f"Gains by size: {'; '.join(seen)}.")


def _reach(table: pd.DataFrame, value: str, low: str, high: str) -> np.ndarray | None:
    """Lengths of error bars (2, n), None where no row has an interval (one seed)."""
    found = np.abs(np.stack([table[value] - table[low], table[high] - table[value]]))
    return None if np.isnan(found).all() else found
