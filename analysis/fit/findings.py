"""Parameters of a fit with their status, warnings that belong beside them, and both as plain data for JSON."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.identifiability import not_identified


def parameter_frame(fit: Fit) -> pd.DataFrame:
    """One row per parameter: `parameter`, `value` in its own units, `status`.

    The status is '', 'fixed', 'tied', 'at bound' or 'not identified'; numbers of the last two mean nothing alone.
    """
    mix = fit.problem.constraint.mix
    bound = fit.at_bound
    unknown = {u.parameter for u in not_identified(fit)}
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


def shown_parameters(fit: Fit) -> list[str]:
    """Parameters whose standard errors and intervals mean something: identified, not fixed, not at a bound."""
    frame = parameter_frame(fit)
    return list(frame.loc[frame["status"].isin(["", "tied"]), "parameter"])


def warnings(fit: Fit) -> list[str]:
    """Sentences that a reader needs before using the numbers."""
    found = list(fit.points.warnings)
    found += [f"{u.parameter} is not identified: {u.why}" for u in not_identified(fit)]
    found += [f"{name} is at a bound of the law" for name in fit.at_bound]
    if fit.agreeing_apart < min(3, int(fit.apart.sum())):
        found.append(
            f"only {fit.agreeing_apart} of {int(fit.apart.sum())} minimisations from starts that are apart reach the "
            "best objective"
        )
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


def as_data(fit: Fit, bootstrap: Bootstrap | None, refused: str) -> dict[str, object]:
    """The fit as JSON holds it: objective, parameters by name, intervals, diagnostics. Numbers at full precision."""
    if not fit.ok:
        return {"law": fit.law.name, "ok": False, "reason": fit.reason, "objective": None, "parameters": None,
                "intervals": None, "diagnostics": None}  # fmt: skip
    intervals: object = None
    if bootstrap:
        errors, bounds = bootstrap.errors(), bootstrap.intervals()
        shown = set(shown_parameters(fit))
        intervals = {
            n: {"se": errors[n], "low": bounds[n][0], "high": bounds[n][1], "level": 0.95} if n in shown else None
            for n in fit.law.names
        }
    diagnostics = {
        "runs": len(fit.points),
        "free_parameters": fit.problem.size,
        "delta": fit.problem.delta,
        "convention": fit.points.convention,
        "starts": fit.searched,
        "minimised": fit.polished,
        "agreeing": fit.agreeing,
        "apart": int(fit.apart.sum()),
        "agreeing_apart": fit.agreeing_apart,
        "gradient_norm": fit.gradient_norm,
        "condition": fit.condition,
        "at_bound": list(fit.at_bound),
        "not_identified": {u.parameter: u.why for u in not_identified(fit)},
        "minima": [
            {"objective": m.objective, "parameters": dict(m.parameters), "starts": m.starts} for m in fit.minima
        ],
        "warnings": warnings(fit),
    }
    if bootstrap:
        diagnostics["bootstrap"] = {
            "n": len(bootstrap.theta), "method": bootstrap.method, "units": bootstrap.units, "seed": bootstrap.seed,
            "not_converged": bootstrap.failed, "at_bound": bootstrap.at_bound, "doubt": bootstrap.doubt,
        }  # fmt: skip
    elif refused:
        diagnostics["bootstrap"] = {"refused": refused}
    return {"law": fit.law.name, "source": fit.law.source, "ok": True, "objective": fit.objective,
            "parameters": fit.parameters, "intervals": intervals, "diagnostics": diagnostics}  # fmt: skip
