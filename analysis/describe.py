"""A fit in words and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from analysis.fit import Fit


def parameter_frame(fit: Fit) -> pd.DataFrame:
    """One row per parameter: `parameter`, `value` in its own units, `status` ('', 'fixed', 'tied', 'at bound')."""
    mix = fit.problem.constraint.mix
    bound = fit.at_bound
    rows = []
    for j, (name, value) in enumerate(fit.parameters.items()):
        status = ""
        if not mix[:, j].any():
            status = "fixed"
        else:
            leader = fit.problem.constraint.names[int(np.argmax(mix[:, j]))]
            status = "at bound" if leader in bound else ("tied" if leader != name else "")
        rows.append({"parameter": name, "value": value, "status": status})
    return pd.DataFrame(rows)


def summary(fit: Fit) -> str:
    """The account of a fit that should stand beside any number taken from it."""
    law, data = fit.law, fit.points
    head = f"{law.name}: {law.formula}    ({law.source})"
    if not fit.ok:
        return f"{head}\nNOT FITTED: {fit.reason}"
    lines = [head]
    ranges = ", ".join(f"{c} {v.min():.3g} to {v.max():.3g}" for c, v in data.x.items())
    convention = f" (N: {data.convention})" if data.convention else ""
    lines.append(f"{len(data)} runs, {ranges}{convention}; loss {data.loss.min():.4f} to {data.loss.max():.4f}")
    for _, row in parameter_frame(fit).iterrows():
        lines.append(f"  {row['parameter']:<10}{row['value']:>14.7g}  {row['status']}".rstrip())
    mad = float(np.median(np.abs(fit.residuals)))
    lines.append(
        f"objective {fit.objective:.10e} (Huber, delta {fit.problem.delta:g}; median |log residual| {mad:.2e}); "
        f"{fit.agreeing} of {fit.polished} minimisations agree ({fit.searched} starts)"
    )
    lines.append(f"left to gain {fit.gradient_norm:.1e}, condition {fit.condition:.1e}")
    if law.note:
        lines.append(f"note: {law.note}")
    return "\n".join(lines)
