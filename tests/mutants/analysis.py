"""Slips in analysis."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "analysis/compare/seeds.py",
        "dof = sum(len(d) - 1 for d in spread)",
        "dof = sum(len(d) for d in spread)",
        "tests/analysis/test_analysis_compare.py",
    ),
    Slip(
        "analysis/compare/seeds.py",
        "100.0 / abs(theirs.mean())",
        "100.0 / theirs.mean()",
        "tests/analysis/test_analysis_compare.py",
    ),
    Slip(
        "analysis/compare/seeds.py",
        "wide[a].notna() & wide[b].isna()",
        "wide[a].isna() & wide[b].notna()",
        "tests/analysis/test_analysis_compare.py",
    ),
    Slip(
        "analysis/compare/seeds.py",
        "if not same[key] and len(d) > 1]",
        "if len(d) > 1]",
        "tests/analysis/test_analysis_compare.py",
    ),
    Slip(
        "analysis/compare/items.py",
        "stats.t.ppf(0.975, count - 1)",
        "stats.norm.ppf(0.975)",
        "tests/analysis/test_tasks.py tests/analysis/test_estimators.py",
    ),
    Slip(
        "analysis/compare/items.py",
        "float(2 * stats.norm.sf(abs(difference) / error))",
        "float(stats.norm.sf(abs(difference) / error))",
        "tests/analysis/test_tasks.py",
    ),
    Slip(
        "analysis/fit/bootstrap.py",
        "counts[:, labels] * base.weights",
        "counts[:, labels].astype(float)",
        "tests/analysis/test_analysis_fit.py tests/analysis/test_estimators.py",
    ),
    Slip(
        "analysis/fit/holdout.py",
        "2 * n * (np.log(2 * max(scale, 1e-300)) + 1)",
        "n * (np.log(2 * max(scale, 1e-300)) + 1)",
        "tests/analysis/test_estimators.py",
    ),
    Slip(
        "analysis/fit/holdout.py",
        "np.mean(0.5 * np.log(high / low))",
        "np.mean(np.log(high / low))",
        "tests/analysis/test_extrapolation.py tests/analysis/test_analysis_fit.py",
    ),
    Slip(
        "analysis/fit/holdout.py",
        "100 * np.expm1(-self.errors)",
        "100 * np.expm1(self.errors)",
        "tests/analysis/test_analysis_fit.py tests/analysis/test_extrapolation.py",
    ),
    Slip(
        "analysis/fit/extrapolation.py",
        "fit(fitted.points, law, delta=fitted.problem.delta)",
        "fit(fitted.points, law)",
        "tests/analysis/test_extrapolation.py",
    ),
    Slip(
        "analysis/fit/identifiability.py",
        "units = len(set(fit.points.clusters))",
        "units = len(fit.points)",
        "tests/analysis/test_estimators.py tests/analysis/test_analysis_fit.py",
    ),
    Slip(
        "analysis/scaling/isoflop_fit.py",
        "np.interp(inside, self.x, self.ln_d) + slope",
        "np.interp(inside, self.x, self.ln_d) - slope",
        "tests/analysis/test_analysis_commands.py tests/analysis/test_isoflop_noise.py",
    ),
    Slip(
        "analysis/scaling/isoflop.py",
        "if repeats_dof >= 3 else",
        "if repeats_dof >= 1 else",
        "tests/analysis/test_isoflop_noise.py",
    ),
    Slip(
        "analysis/scaling/budget_minimum.py",
        "(sigma * curve.scale / np.sqrt(curve.repeats))[:, None]",
        "(sigma * curve.scale)[:, None]",
        "tests/analysis/test_isoflop_noise.py",
    ),
    Slip(
        "analysis/scaling/isoflop_fit.py",
        "return np.sqrt(self.repeats) / (self.loss * self.scale)",
        "return np.sqrt(self.repeats) / self.scale",
        "tests/analysis/test_isoflop_noise.py",
    ),
    Slip(
        "analysis/scaling/allocation.py",
        "s2 = (self.rho / self.omega) ** (1 / 3)",
        "s2 = (self.rho / self.omega**2) ** (1 / 3)",
        "tests/analysis/test_analysis_plan.py",
    ),
    Slip(
        "analysis/scaling/multiplier.py",
        "loss * _draw_noise(bootstrap, error), at or {}) / amount",
        "loss * _draw_noise(bootstrap, error), at or {})",
        "tests/analysis/test_analysis_fit.py",
    ),
    Slip(
        "analysis/scaling/scenarios.py",
        "own = 3 * model.per_token(student_n) * tokens / budget",
        "own = model.per_token(student_n) * tokens / budget",
        "tests/analysis/test_analysis_plan.py",
    ),
    Slip(
        "analysis/data/points.py",
        "share = share * (len(share) / share.sum())",
        "pass",
        "tests/analysis/test_analysis_fit.py",
    ),
    Slip(
        "analysis/data/table_file.py",
        "pd.RangeIndex(2, len(raw) + 2)",
        "pd.RangeIndex(1, len(raw) + 1)",
        "tests/analysis/test_table_file.py",
    ),
    Slip(
        "analysis/laws/repeats.py",
        'np.log(np.minimum(x["U"], x["D"]))',
        'np.log(x["U"])',
        "tests/analysis/test_analysis_laws.py",
    ),
    Slip(
        "analysis/report/arm_comparison.py",
        '"low": -frame["high"], "high": -frame["low"]',
        '"low": -frame["low"], "high": -frame["high"]',
        "tests/analysis/test_paper_report.py tests/analysis/test_study_report.py",
    ),
    Slip(
        "analysis/tables/planned_and_spent.py",
        'unique = runs.drop_duplicates("run")',
        "unique = runs",
        "tests/analysis/test_study_report.py",
    ),
    Slip(
        "analysis/laws/experts.py",
        "slope = b + c * ln_n / ten",
        "slope = b + c * ln_n",
        "tests/analysis/test_published_laws.py",
    ),
    Slip(
        "analysis/laws/experts.py",
        "reach = experts - 1 + 1 / gap",
        "reach = experts + 1 / gap",
        "tests/analysis/test_published_laws.py",
    ),
    Slip(
        "analysis/fit/residual_scale.py",
        "np.mean(size * np.exp(-slope * spread))",
        "np.mean(size * np.exp(slope * spread))",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/fit/outliers.py",
        "limit = factor * NORMAL * float(np.median(size))",
        "limit = factor * float(size.mean())",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/fit/given_law.py",
        "points.log_loss - np.log(law.predict(values, points.x))",
        "np.log(law.predict(values, points.x)) - points.log_loss",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/scaling/multiplier.py",
        "loss * _draw_noise(bootstrap, error)",
        "loss",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/fit/fit_result.py",
        "self._agree() & self.apart",
        "self._agree()",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/fit/minimise.py",
        "np.where(dead, np.inf, np.sqrt(np.maximum(diagonal, 1e-300)))",
        "np.sqrt(np.maximum(diagonal, 1e-300))",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/fit/estimated_columns.py",
        "rng.standard_normal(teachers.max() + 1))[teachers]",
        "rng.standard_normal(len(teachers)))",
        "tests/analysis/test_fit_options.py",
    ),
    Slip(
        "analysis/scaling/isoflop_fit.py",
        "np.sqrt(self.repeats) / (self.loss * self.scale)",
        "np.sqrt(self.repeats) / self.loss",
        "tests/analysis/test_analysis_commands.py",
    ),
    Slip(
        "analysis/scaling/frontier.py",
        "return line(budgets, optima, 1 / values**2, optima[:, None] + noise)",
        "return line(budgets, optima, 1 / values, optima[:, None] + noise / 2)",
        "tests/analysis/test_analysis_commands.py",
    ),
    Slip(
        "analysis/data/table_file.py",
        "ast.Attribute, ast.Subscript, ",
        "",
        "tests/analysis/test_analysis_commands.py",
    ),
)
