"""Figures: functions from plain tables or results to a `Plot` (figure, plotted numbers, caption).

Computes no statistic of its own beyond means and ranges over seeds; a page of figures is `report`."""

from pdstudy.analysis.figures.diagnostics import (
    held_out_errors,
    pair_ellipses,
    profile_curves,
    residual_panels,
    sensitivity,
    small_multiples,
)
from pdstudy.analysis.figures.distillation_maps import (
    best_teacher_map,
    distil_or_train_map,
    scenario_allocation,
    scenario_losses,
    student_and_teacher,
    u_curves,
)
from pdstudy.analysis.figures.fits import loss_and_law, predicted_and_measured
from pdstudy.analysis.figures.grids import line_grid
from pdstudy.analysis.figures.isoflop_curves import allocation_curves, isoflop_curves, loss_surface, repeats_surface
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.run_comparisons import bars, effects, gain_and_kept, gain_by_size, learning_curves
from pdstudy.analysis.figures.stores import kept_against_k, kept_against_p
from pdstudy.analysis.figures.ternary import ternary

__all__ = [
    "Plot",
    "allocation_curves",
    "bars",
    "best_teacher_map",
    "distil_or_train_map",
    "effects",
    "gain_and_kept",
    "gain_by_size",
    "held_out_errors",
    "isoflop_curves",
    "kept_against_k",
    "kept_against_p",
    "learning_curves",
    "line_grid",
    "loss_and_law",
    "loss_surface",
    "pair_ellipses",
    "predicted_and_measured",
    "profile_curves",
    "repeats_surface",
    "residual_panels",
    "scenario_allocation",
    "scenario_losses",
    "sensitivity",
    "small_multiples",
    "student_and_teacher",
    "ternary",
    "u_curves",
]
