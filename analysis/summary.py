"""Results in words: the account that should stand beside any number taken from them.

One function, `summary(result)`, for every result of `fit`, `compare` and `scaling`.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.choice import LawChoice
from pdstudy.analysis.fit.extrapolation import measure_distance
from pdstudy.analysis.fit.findings import parameter_frame, warnings
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.given_law import GivenLaw
from pdstudy.analysis.fit.holdout import HeldOutErrors
from pdstudy.analysis.fit.lack_of_fit import lack_of_fit
from pdstudy.analysis.scaling.allocation import Allocation
from pdstudy.analysis.scaling.frontier import Frontier
from pdstudy.analysis.scaling.isoflop import IsoFlopFrontier
from pdstudy.analysis.scaling.multiplier import Multiplier


@singledispatch
def summary(result: object) -> str:
    """The account of a `Fit`, `Bootstrap` (its fit with intervals), `HeldOutErrors`, `GivenLaw`, `LawChoice`,
    `Comparison`, `IsoFlopFrontier`, `Frontier`, `Allocation` or `Multiplier` as text.

    Raises:
        TypeError: for any other object.
    """
    raise TypeError(f"no summary of a {type(result).__name__}")


@summary.register
def _(result: Fit) -> str:
    return _summarise_fit(result, None)


@summary.register
def _(result: Bootstrap) -> str:
    return _summarise_fit(result.fit, result)


@summary.register
def _(result: HeldOutErrors) -> str:
    fit = result.fit
    line = (
        f"{fit.law.name}: {len(fit.points)} runs fitted, {len(result.errors)} held out: "
        f"rms {result.rms:.4f}, mean {result.mean:+.4f}, worst {result.worst:.4f} (log errors); "
        f"training rms {result.training_rms:.4f}"
    )
    if not np.isnan(result.coverage):
        line += f"; {result.coverage:.0%} in the 95 % prediction band of mean half-width {result.half_width:.4f}"
    lines = [line]
    ratio = result.rms / max(result.training_rms, 1e-300)
    if ratio > 2:
        lines.append(f"warning: errors of the held-out runs are {ratio:.2g} times the training rms")
    distance = measure_distance(fit.points, result.test.x)
    lines += [f"warning: held out beyond the runs fitted: {', '.join(distance)}"] if distance else []
    return "\n".join([*lines, *(f"warning (without the held-out runs): {w}" for w in warnings(fit))])


@summary.register
def _(result: GivenLaw) -> str:
    shown = ", ".join(f"{n} {v:.6g}" for n, v in result.parameters.items())
    return (
        f"{result.law.name} with given coefficients ({shown}): {len(result.points)} runs: rms {result.rms:.4f}, "
        f"mean {result.mean:+.4f}, worst {result.worst:.4f} (log errors); objective {result.objective:.10e} (sum of "
        f"Huber, delta {result.delta:g})"
    )


@summary.register
def _(result: LawChoice) -> str:
    lines = [f"laws compared: {result.said}"]
    for _, r in result.frame.iterrows():
        if r["failed"]:
            lines.append(f"  {r['law']:<18}not compared: {r['failed']}")
        else:
            lines.append(
                f"  {r['law']:<18}k {r['k']}  rms held out {r['rms']:.5f}, training {r['training_rms']:.5f}  "
                f"AICc {r['aicc']:.1f} (weight {r['weight']:.2f})  best in {r['best']:.0%}"
            )
    return "\n".join(lines)


@summary.register
def _(result: Frontier) -> str:
    low, high = result.interval()
    bounds = "" if np.isnan(low) else f" ({low:.4f}, {high:.4f})"
    return f"{np.exp(result.intercept):.5g} C^{result.exponent:.4f}{bounds}, R2 {result.r2:.4f}"


@summary.register
def _(result: Comparison) -> str:
    lines = [result.caption()]
    for e in result.effects:
        where = " ".join(f"{c}={v}" for c, v in zip(result.within, e.stratum))
        bounds = f"[{e.low:+.4g}, {e.high:+.4g}], outer [{e.family_low:+.4g}, {e.family_high:+.4g}], p {e.p:.2g}"
        bounds = "no interval" if np.isnan(e.low) else f"{bounds}, dof {e.dof}"
        lines.append(
            f"{where + ' ' if where else ''}{e.arm} - {e.baseline}: {e.difference:+.4g} {bounds}: {e.verdict.value}"
        )
    return "\n".join(lines)


@summary.register
def _(result: IsoFlopFrontier) -> str:
    low, high = result.size.interval()
    bounds = "" if np.isnan(low) else f" ({low:.3f}, {high:.3f})"
    lines = [
        f"isoFLOP by {result.method.value}: N* ~ C^{result.size.exponent:.4f}{bounds}, "
        f"D* ~ C^{result.tokens.exponent:.4f} ({result.tokens_rule}), R2 {result.size.r2:.4f}; "
        f"noise of ln loss {result.noise:.2e} ({result.noise_source})"
    ]
    for m in result.minima:
        found = (
            f"N* {m.n:.4g}  D* {m.d:.4g}  L* {m.loss:.4f}  D/N {m.d / m.n:.3g}"
            if not m.refused
            else f"refused: {m.refused}"
        )
        lines.append(f"  C {m.budget:.3g} ({m.sizes} sizes): {found}")
    return "\n".join([*lines, *(f"warning: {w}" for w in result.warnings)])


@summary.register
def _(result: Allocation) -> str:
    convention = f", N {result.convention}" if result.convention else ""
    lines = [f"best allocation under {result.law.name}, {result.note}{convention}"]
    for _, r in result.frame.iterrows():
        line = f"  C {r.budget:.3g}: "
        for key, label, digits in (("n", "N*", 4), ("d", "D*", 4), ("loss", "L*", 5), ("ratio", "D/N", 4)):
            low, high = r[f"{key}_low"], r[f"{key}_high"]
            bounds = "" if np.isnan(low) else f" [{low:.{digits}g}, {high:.{digits}g}]"
            line += f"{label} {r[key]:.{digits}g}{bounds}  "
        lines.append(line.rstrip())
    return "\n".join([*lines, *(f"warning: {w}" for w in result.warnings)])


@summary.register
def _(result: Multiplier) -> str:
    if np.isinf(result.factor):
        return "the baseline never matches: its floor is above this loss"
    return f"x{result.factor:.3g}" + ("" if np.isnan(result.low) else f" [{result.low:.3g}, {result.high:.3g}]")


def _summarise_fit(fit: Fit, bootstrap: Bootstrap | None) -> str:
    law, data = fit.law, fit.points
    head = f"{law.name}: {law.formula}    ({law.source})"
    if not fit.ok:
        return f"{head}\nNOT FITTED: {fit.reason}"
    lines = [head]
    ranges = ", ".join(f"{c} {v.min():.3g} to {v.max():.3g}" for c, v in data.x.items())
    convention = f" (N: {data.convention})" if data.convention else ""
    lines.append(f"{len(data)} runs, {ranges}{convention}; loss {data.loss.min():.4f} to {data.loss.max():.4f}")
    test = lack_of_fit(fit)
    lines += [test.describe()] if test else []
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
        f"{fit.agreeing_apart} of {int(fit.apart.sum())} minimisations from starts that are apart agree "
        f"({fit.polished} in all, of {fit.searched} starts)"
    )
    lines.append(f"left to gain {fit.gradient_norm:.1e} of the objective, condition {fit.condition:.1e}")
    if bootstrap:
        lines.append(
            f"{len(bootstrap.theta)} bootstraps over {bootstrap.method} ({bootstrap.units} units, "
            f"seed {bootstrap.seed}): "
            f"{bootstrap.failed} not converged, {bootstrap.at_bound} at a bound"
        )
        lines += [f"warning: {bootstrap.doubt}"] if bootstrap.doubt else []
    lines += [f"warning: {w}" for w in warnings(fit)]
    if law.note:
        lines.append(f"note: {law.note}")
    return "\n".join(lines)
