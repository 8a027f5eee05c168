"""Figures of the distillation law: capacity gap, distil or train, best teacher, scenarios (Busbridge et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm

from pdstudy.analysis.figures.isoflop_curves import flops_axis
from pdstudy.analysis.figures.plot import Plot, redrawable
from pdstudy.analysis.figures.style import BASELINE, COLUMN, PAGE, counts_axis, look, panels, plain, styled
from pdstudy.analysis.scaling.scenarios import ComputeModel, distil_or_train
from pdstudy.core.format import si


@redrawable
def student_and_teacher(
    model: ComputeModel,
    students: Sequence[tuple[float, float]],
    teacher_losses: np.ndarray,
    runs: pd.DataFrame | None = None,
) -> Plot:
    """Student against teacher loss, one U-curve per student (size, tokens), with the diagonal L_S = L_T.

    `runs` (columns N, D, LT, loss), where given, are drawn as points on the curve of their student.
    """
    rows = []
    with styled():
        figure, (axes,) = panels(COLUMN, 2.9)
        axes.plot(
            teacher_losses,
            teacher_losses,
            color=BASELINE.colour,
            linestyle=BASELINE.dash,
            linewidth=0.9,
            label="$L_S = L_T$",
        )
        for i, (n, d) in enumerate(students):
            loss, style = model.distilled(n, d, teacher_losses), look(i)
            axes.plot(teacher_losses, loss, color=style.colour, label=f"{si(n)}, {si(d)} tokens")
            best, lowest = (float(v) for v in model.best_teacher(n, d))
            axes.plot(best, lowest, style.marker, color=style.colour, markeredgecolor="black", markersize=5)
            if runs is not None:
                mine = runs[(runs["N"] == n) & (runs["D"] == d)]
                axes.plot(
                    mine["LT"], mine["loss"], style.marker, color=style.colour, markerfacecolor="white", markersize=3
                )
            rows.append(pd.DataFrame({"N": n, "D": d, "LT": teacher_losses, "loss": loss}))
        axes.set_xlabel("teacher loss $L_T$ (nats per token)")
        axes.set_ylabel("student loss $L_S$ (nats per token)")
        axes.legend(fontsize="small")
    caption = (
        "Student against teacher loss under the distillation law; marks: each student's best teacher (capacity gap)."
    )
    caption += " Hollow: runs." if runs is not None else ""
    return Plot(figure, pd.concat(rows, ignore_index=True), caption)


@redrawable
def u_curves(
    model: ComputeModel, student_n: float, tokens: Sequence[float], teacher_sizes: np.ndarray, ratio: float = 20.0
) -> Plot:
    """Student loss against teacher size at `ratio` tokens per teacher parameter, one curve per student token count."""
    teacher_loss = model.supervised(teacher_sizes, ratio * teacher_sizes)
    rows = []
    with styled():
        figure, (axes,) = panels(COLUMN, 2.5)
        for i, d in enumerate(tokens):
            loss, style = model.distilled(student_n, d, teacher_loss), look(i)
            axes.plot(teacher_sizes, loss, color=style.colour, linestyle=style.dash, label=f"{si(d)} student tokens")
            best = int(np.argmin(loss))
            axes.plot(teacher_sizes[best], loss[best], style.marker, color=style.colour)
            rows.append(pd.DataFrame({"D": d, "teacher_n": teacher_sizes, "loss": loss}))
        axes.axvline(student_n, color=BASELINE.colour, linestyle=BASELINE.dash, linewidth=0.8, label="student size")
        counts_axis(axes)
        axes.set_xlabel("teacher parameters (non-embedding)")
        axes.set_ylabel("student loss (nats per token)")
        axes.legend()
    caption = f"A student of {si(student_n)} under teachers of {ratio:g} tokens per parameter; marks: the best teacher."
    return Plot(figure, pd.concat(rows, ignore_index=True), caption)


@redrawable
def distil_or_train_map(
    model: ComputeModel, sizes: np.ndarray, tokens: np.ndarray, teacher_losses: Sequence[float]
) -> Plot:
    """Contours of L_S - L_supervised over student size and tokens, one panel per teacher; zero line black."""
    gaps = [distil_or_train(model, sizes, tokens, t) for t in teacher_losses]
    reach = max(float(np.abs(g).max()) for g in gaps)
    reach = min(reach, 0.4)  # a student far better than its teacher would wash out all else
    levels = np.linspace(-reach, reach, 17)
    with styled():
        figure, axes = panels(PAGE, 2.4, columns=len(gaps))
        for ax, gap, t in zip(axes, gaps, teacher_losses):
            filled = ax.contourf(
                tokens, sizes, gap, levels=levels, cmap="PuOr_r", norm=TwoSlopeNorm(0, -reach, reach), extend="both"
            )
            ax.contour(tokens, sizes, gap, levels=[0.0], colors="black", linewidths=1.2)
            counts_axis(ax)
            counts_axis(ax, "y")
            ax.set_title(f"teacher loss {t:g}")
            ax.set_xlabel("student tokens")
            ax.grid(visible=False)
        axes[0].set_ylabel("student parameters (non-emb.)")
        figure.colorbar(filled, ax=axes, label="distilled - supervised (nats)", format="%.2f")
    frames = [
        pd.DataFrame(
            {"teacher_loss": t, "N": np.repeat(sizes, len(tokens)), "D": np.tile(tokens, len(sizes)), "gap": g.ravel()}
        )
        for t, g in zip(teacher_losses, gaps)
    ]
    caption = (
        "Distilled minus supervised loss at equal student tokens, teacher not charged; black: zero; negative (purple): "
        "the teacher helps."
    )
    return Plot(figure, pd.concat(frames, ignore_index=True), caption)


@redrawable
def best_teacher_map(model: ComputeModel, sizes: np.ndarray, tokens: np.ndarray) -> Plot:
    """The teacher loss that gives the best student, over student size and tokens."""
    n, d = np.meshgrid(sizes, tokens, indexing="ij")
    teacher, student = model.best_teacher(n, d)
    with styled():
        figure, (axes,) = panels(4.4, 2.8)
        # The scales first: labels cut their gaps into the lines in the scale of the moment.
        axes.set_xlim(tokens[0], tokens[-1])
        axes.set_ylim(sizes[0], sizes[-1])
        counts_axis(axes)
        counts_axis(axes, "y")
        filled = axes.contourf(tokens, sizes, teacher, levels=14, cmap="cividis")
        lines = axes.contour(tokens, sizes, teacher, levels=7, colors="white", linewidths=0.6)
        axes.clabel(lines, fmt="%.2f", fontsize="small")
        axes.set_xlabel("student tokens")
        axes.set_ylabel("student parameters (non-embedding)")
        axes.grid(visible=False)
        figure.colorbar(filled, ax=axes, label="best teacher loss $L_T^*$ (nats)", format="%.2f")
    data = pd.DataFrame(
        {"N": n.ravel(), "D": d.ravel(), "teacher_loss": teacher.ravel(), "student_loss": student.ravel()}
    )
    return Plot(figure, data, "Teacher loss at which a student of this size and token count is best.")


@redrawable
def scenario_losses(table: pd.DataFrame) -> Plot:
    """Best student loss against compute, a line per scenario (frame of `compare_scenarios`), a panel per size."""
    sizes = list(dict.fromkeys(table["student_n"]))
    with styled():
        figure, axes = panels(PAGE, 2.5, columns=len(sizes))
        for ax, n in zip(axes, sizes):
            part = table[table["student_n"] == n]
            for i, (name, line) in enumerate(part.groupby("scenario", sort=False)):
                style = look(i)
                ax.plot(
                    line["budget"],
                    line["loss"],
                    style.marker,
                    color=style.colour,
                    linestyle=style.dash,
                    label=plain(name),
                )
            flops_axis(ax)
            ax.set_title(f"student {si(n)}")
        axes[0].set_ylabel("best student loss (nats per token)")
        axes[-1].legend()
    return Plot(
        figure,
        table.reset_index(drop=True),
        "Best student loss against total compute, by the teacher's share that is charged.",
    )


@redrawable
def scenario_allocation(table: pd.DataFrame, student_n: float) -> Plot:
    """Where the budget goes under each scenario: student tokens, teacher size and tokens, the student's share."""
    part = table[(table["student_n"] == student_n) & (table["scenario"] != "supervised")]
    shown = (("student_d", "student tokens"), ("teacher_n", "teacher parameters"), ("teacher_d", "teacher tokens"),
             ("student_share", "student's share of FLOPs"))  # fmt: skip
    with styled():
        figure, axes = panels(PAGE, 3.9, rows=2, columns=2)
        for ax, (key, label) in zip(axes, shown):
            for i, (name, line) in enumerate(part.groupby("scenario", sort=False)):
                style = look(i + 1)
                ax.plot(
                    line["budget"],
                    line[key],
                    color=style.colour,
                    linestyle=style.dash,
                    marker=style.marker,
                    markersize=3,
                    label=plain(name),
                )
            flops_axis(ax)
            if key != "student_share":
                counts_axis(ax, "y")
            ax.set_ylabel(label)
        axes[-1].set_ylim(0, 1.05)
        figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return Plot(
        figure,
        part.reset_index(drop=True),
        f"Best allocation for a student of {si(student_n)}, by the teacher's share that is charged.",
    )
