"""A fit in words, as a table, and as plain data for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pdstudy.analysis.fit.bootstrap import Bootstrap
    from pdstudy.analysis.fit.fit import Fit


def parameter_frame(fit: Fit) -> pd.DataFrame:
    """One row per parameter: `parameter`, `value` in its own units, `status`.

    The status is '', 'fixed', 'tied', 'at bound' or 'not identified'; numbers of the last two mean nothing alone.
    """
    mix = fit.problem.constraint.mix
    bound = fit.at_bound
    unknown = {u.parameter for u in fit.unidentified}
    rows = []
    for j, (name, value) in enumerate(fit.parameters.items()):
        if not mix[:, j].any():
            status = "fixed"
        else:
            leader = fit.problem.constraint.names[int(np.argmax(mix[:, j]))]
            status = "tied" if leader != name else ""
            status = "not identified" if leader in unknown else status
            status = "at bound" if leader in bound else status
        rows.append({"parameter": name, "value": value, "status": status})
    return pd.DataFrame(rows)


def warnings(fit: Fit) -> list[str]:
    """What a reader has to know before using the numbers."""
    found = [f"{u.parameter} is not identified: {u.why}" for u in fit.unidentified]
    found += [f"{name} is at a bound of the law" for name in fit.at_bound]
    if fit.agreeing < 3:
        found.append(f"only {fit.agreeing} of {fit.polished} minimisations reach the best objective")
    minima = fit.minima
    if len(minima) > 1:
        shown = "; ".join(
            f"{m.objective:.8g} at " + ", ".join(f"{n} {m.parameters[n]:.4g}" for n in fit.problem.constraint.names)
            for m in minima[:5]
        )
        found.append(f"{len(minima)} distinct minima lie within 0.5 % of the best objective: {shown}")
    mad = float(np.median(np.abs(fit.residuals)))
    if mad > 3 * fit.problem.delta:
        found.append(f"delta is {fit.problem.delta / mad:.2g} of the median |residual|: nearly a least-absolute fit")
    return found


def summary(fit: Fit, bootstrap: Bootstrap | None = None) -> str:
    """The account of a fit that should stand beside any number taken from it."""
    law, data = fit.law, fit.points
    head = f"{law.name}: {law.formula}    ({law.source})"
    if not fit.ok:
        return f"{head}\nNOT FITTED: {fit.reason}"
    lines = [head]
    ranges = ", ".join(f"{c} {v.min():.3g} to {v.max():.3g}" for c, v in data.x.items())
    convention = f" (N: {data.convention})" if data.convention else ""
    lines.append(f"{len(data)} runs, {ranges}{convention}; loss {data.loss.min():.4f} to {data.loss.max():.4f}")
    intervals = bootstrap.intervals() if bootstrap else {}
    errors = bootstrap.errors() if bootstrap else {}
    for _, row in parameter_frame(fit).iterrows():
        name, status = str(row["parameter"]), str(row["status"])
        line = f"  {name:<10}{row['value']:>14.7g}"
        if bootstrap and status in ("", "tied"):
            line += f"   s.e. {errors[name]:<10.4g} 95 % [{intervals[name][0]:.4g}, {intervals[name][1]:.4g}]"
        lines.append(f"{line}  {status}".rstrip())
    mad = float(np.median(np.abs(fit.residuals)))
    lines.append(
        f"objective {fit.objective:.10e} (sum of Huber, delta {fit.problem.delta:g}; median |log residual| {mad:.2e}); "
        f"{fit.agreeing} of {fit.polished} minimisations agree ({fit.searched} starts)"
    )
    lines.append(f"left to gain {fit.gradient_norm:.1e} of the objective, condition {fit.condition:.1e}")
    if bootstrap:
        lines.append(
            f"{len(bootstrap.theta)} bootstraps over {bootstrap.method} ({bootstrap.units} units, "
            f"seed {bootstrap.seed}): "
            f"{bootstrap.failed} not converged, {bootstrap.at_bound} at a bound"
        )
    lines += [f"warning: {w}" for w in warnings(fit)]
    if law.note:
        lines.append(f"note: {law.note}")
    return "\n".join(lines)


def as_data(fit: Fit, bootstrap: Bootstrap | None, refused: str) -> dict[str, object]:
    """The fit as JSON holds it: objective, parameters by name, intervals, diagnostics. Numbers at full precision."""
    if not fit.ok:
        return {"law": fit.law.name, "ok": False, "reason": fit.reason, "objective": None, "parameters": None,
                "intervals": None, "diagnostics": None}  # fmt: skip
    intervals: object = None
    if bootstrap:
        errors, bounds = bootstrap.errors(), bootstrap.intervals()
        intervals = {
            n: {"se": errors[n], "low": bounds[n][0], "high": bounds[n][1], "level": 0.95} for n in fit.law.names
        }
    diagnostics = {
        "runs": len(fit.points),
        "free_parameters": fit.problem.size,
        "delta": fit.problem.delta,
        "convention": fit.points.convention,
        "starts": fit.searched,
        "minimised": fit.polished,
        "agreeing": fit.agreeing,
        "gradient_norm": fit.gradient_norm,
        "condition": fit.condition,
        "at_bound": list(fit.at_bound),
        "not_identified": {u.parameter: u.why for u in fit.unidentified},
        "minima": [
            {"objective": m.objective, "parameters": dict(m.parameters), "starts": m.starts} for m in fit.minima
        ],
        "warnings": warnings(fit),
    }
    if bootstrap:
        diagnostics["bootstrap"] = {
            "n": len(bootstrap.theta), "method": bootstrap.method, "units": bootstrap.units, "seed": bootstrap.seed,
            "not_converged": bootstrap.failed, "at_bound": bootstrap.at_bound,
        }  # fmt: skip
    elif refused:
        diagnostics["bootstrap"] = {"refused": refused}
    return {"law": fit.law.name, "source": fit.law.source, "ok": True, "objective": fit.objective,
            "parameters": fit.parameters, "intervals": intervals, "diagnostics": diagnostics}  # fmt: skip
