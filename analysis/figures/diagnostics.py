"""Figures that judge a fit: residuals, profiles, joint uncertainty, sensitivity to choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.fit_result import Fit

_LABELS = {
    "N": "parameters N",
    "D": "tokens D",
    "U": "unique tokens U",
    "C": "compute C (FLOPs)",
    "W": "width W",
    "H": "depth H",
}


@redrawable
def residual_panels(fits: Mapping[str, Fit]) -> Plot:
    """Relative errors against each quantity of the first law, and their distribution per law as violins."""
    first = next(iter(fits.values()))
    columns = list(first.points.x)
    rows = []
    for name, fit in fits.items():
        frame = pd.DataFrame(dict(fit.points.x)).assign(law=name, error=100 * np.expm1(-fit.residuals))
        rows.append(frame)
    with styled():
        figure, axes = panels(PAGE, 2.3, columns=len(columns) + 1)
        for ax, column in zip(axes, columns):
            for i, (name, frame) in enumerate(zip(fits, rows)):
                style = look(i)
                ax.plot(
                    frame[column],
                    frame["error"],
                    style.marker,
                    color=style.colour,
                    markersize=2,
                    alpha=0.7,
                    label=plain(name),
                )
            ax.axhline(0, color=BASELINE.colour, linewidth=0.8)
            counts_axis(ax)
            ax.set_xlabel(_LABELS.get(column, column))
        axes[0].set_ylabel("predicted / measured loss - 1 (%)")
        violins = axes[-1].violinplot([f["error"] for f in rows], showmedians=True, widths=0.8)
        for i, body in enumerate(violins["bodies"]):  # type: ignore[arg-type,var-annotated]
            body.set_facecolor(look(i).colour)
            body.set_alpha(0.4)
        for part in ("cmedians", "cbars", "cmins", "cmaxes"):
            violins[part].set(color="black", linewidth=0.8)
        axes[-1].set_xticks(range(1, len(fits) + 1), [plain(n) for n in fits], rotation=30 if len(fits) > 2 else 0)
        axes[-1].grid(axis="x", visible=False)
        if len(fits) > 1:
            axes[0].legend(markerscale=2, ncols=len(fits), loc="lower left", bbox_to_anchor=(0, 1))
    return Plot(
        figure, pd.concat(rows, ignore_index=True), f"Relative errors of {', '.join(fits)} on {len(first.points)} runs."
    )


@redrawable
def profile_curves(fit: Fit, profiles: Mapping[str, pd.DataFrame], *, logarithmic: Sequence[str] = ()) -> Plot:
    """Profiles of parameters (frames of `diagnose.profile`): twice the log likelihood lost, 95 % at 3.84.

    `logarithmic` names those shown on a logarithmic axis. A curve below the line at both ends isn't identified.
    """
    with styled():
        figure, axes = panels(PAGE, 2.0, columns=len(profiles))
        for ax, (name, frame) in zip(axes, profiles.items()):
            ax.plot(frame["value"], frame["excess"], color=look(0).colour, marker="o", markersize=2.5)
            ax.axhline(3.84, color=look(1).colour, linestyle=look(1).dash, linewidth=0.9)
            ax.axvline(fit.parameters[name], color=BASELINE.colour, linewidth=0.8)
            ax.set_ylim(-0.5, 12)
            if name in logarithmic:
                counts_axis(ax)
            ax.set_xlabel(symbol(fit, name))
        axes[0].set_ylabel("likelihood ratio statistic")
    data = pd.concat([f.assign(parameter=n) for n, f in profiles.items()], ignore_index=True)
    return Plot(
        figure,
        data,
        "Profiles: all other parameters fitted again at each value. Dashed: 95 %; vertical line: the optimum.",
    )


@redrawable
def pair_ellipses(bootstrap: Bootstrap, published: Mapping[str, Mapping[str, float]] | None = None) -> Plot:
    """Bootstrap draws of every pair of exponents and ln E with 95 % ellipses; published values as marks."""
    law = bootstrap.fit.law
    names = [p.name for p in law.parameters if not p.log] + (["E"] if "E" in law.names else [])
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]][:3]
    draws = bootstrap.draws
    turn = np.linspace(0, 2 * np.pi, 100)
    with styled():
        figure, axes = panels(PAGE, 2.4, columns=len(pairs))
        for ax, (a, b) in zip(axes, pairs):
            x, y = draws[a], draws[b]
            ax.plot(x[:400], y[:400], ".", color=look(0).colour, markersize=1.8, alpha=0.5)
            values, vectors = np.linalg.eigh(np.cov(x, y))
            circle = vectors @ (np.sqrt(5.991 * values)[:, None] * np.stack([np.cos(turn), np.sin(turn)]))
            ax.plot(x.mean() + circle[0], y.mean() + circle[1], color=look(0).colour, label="95 % ellipse")
            best = bootstrap.fit.parameters
            ax.plot(best[a], best[b], "*", color="black", markersize=7, label="this fit")
            for i, (name, point) in enumerate((published or {}).items(), 1):
                ax.plot(
                    point[a],
                    point[b],
                    look(i).marker,
                    color=look(i).colour,
                    mfc="none",
                    markersize=6,
                    label=plain(name),
                )
            ax.set_xlabel(symbol(bootstrap.fit, a))
            ax.set_ylabel(symbol(bootstrap.fit, b))
        axes[-1].legend(loc="best", markerscale=0.9)
    data = pd.DataFrame({n: draws[n] for n in names})
    return Plot(
        figure,
        data,
        f"{len(data)} bootstraps over {bootstrap.method} of {law.name} (400 drawn) and 95 % ellipses.",
    )


@redrawable
def sensitivity(table: pd.DataFrame, *, x: str, x_label: str, values: Mapping[str, str], caption: str) -> Plot:
    """Fitted values against a choice of the analyst (delta, say): a panel per column; `values` maps it to its label."""
    with styled():
        figure, axes = panels(PAGE, 1.9, columns=len(values))
        for i, (ax, (name, label)) in enumerate(zip(axes, values.items())):
            ax.plot(table[x], table[name], color=look(i).colour, marker=look(i).marker)
            ax.set_xscale("log")
            ax.set_xlabel(x_label)
            ax.set_ylabel(label)
    return Plot(figure, table.reset_index(drop=True), caption)


@redrawable
def small_multiples(
    table: pd.DataFrame, *, axis: str = "axis", x: str = "x", value: str = "value", low: str = "low",
    high: str = "high", y_label: str, logarithmic: Sequence[str] = (), caption: str,
) -> Plot:  # fmt: skip
    """One panel per swept quantity (alpha, tau, k, learning rate): the metric with intervals, best point filled."""
    names = list(dict.fromkeys(table[axis]))
    with styled():
        figure, axes = panels(PAGE, 2.1, columns=len(names))
        for ax in axes[1:]:
            ax.sharey(axes[0])  # before anything is drawn: afterwards it would cut the panels to the first one's range
        for i, (ax, name) in enumerate(zip(axes, names)):
            part = table[table[axis] == name].sort_values(x)
            style = look(i)
            reach = np.abs(np.stack([part[value] - part[low], part[high] - part[value]]))
            ax.errorbar(
                part[x], part[value], yerr=reach, color=style.colour, marker=style.marker, markerfacecolor="white"
            )
            best = part.loc[part[value].idxmin()]
            ax.plot(best[x], best[value], style.marker, color=style.colour, markersize=5.5, zorder=5)
            if name in logarithmic:
                counts_axis(ax)
            ax.set_xlabel(plain(name))
        axes[0].set_ylabel(y_label)
    return Plot(figure, table.reset_index(drop=True), caption)


@redrawable
def held_out_errors(table: pd.DataFrame, *, caption: str) -> Plot:
    """Hold-out rms log error per law (columns `rms NAME`) as grouped points, best law first."""
    columns = [c for c in table.columns if str(c).startswith("rms ")]
    with styled():
        figure, (axes,) = panels(COLUMN, 2.3)
        for i, column in enumerate(columns):
            at = np.arange(len(table)) + 0.12 * (i - (len(columns) - 1) / 2)
            axes.plot(at, 100 * table[column], look(i).marker, color=look(i).colour, label=plain(column[4:]))
        axes.set_xticks(range(len(table)), [plain(n) for n in table["law"]])
        axes.set_ylim(bottom=0)
        axes.set_ylabel("rms error held out (%)")
        axes.grid(axis="x", visible=False)
        axes.legend(title="held out")
    return Plot(figure, table.reset_index(drop=True), caption)


def symbol(fit: Fit, name: str) -> str:
    """A parameter as its law writes it."""
    return rf"${fit.law.parameters[fit.law.names.index(name)].latex}$"
