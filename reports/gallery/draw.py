"""The gallery: every kind of figure and table, drawn from published runs. `python reports/gallery/draw.py DATA OUT`.

DATA is the folder with the published tables (`chinchilla_epoch`, `porian`, `datablations`, ...). Kinds that need paired
seeds are drawn from our own studies, whose reports lie beside this folder.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import published
from scipy import stats

from pdstudy.analysis import figures
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.points import points
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.fit.holdout import hold_out, select
from pdstudy.analysis.fit.identifiability import profile
from pdstudy.analysis.laws import GAMMA, HOFFMANN, KAPLAN, REPEATS, TIED, power_law
from pdstudy.analysis.report.page import Block, Listing, Page, Section, Text
from pdstudy.analysis.report.report_files import NONE, save_blocks
from pdstudy.analysis.scaling.allocation import allocate
from pdstudy.analysis.scaling.budget_minimum import Method
from pdstudy.analysis.scaling.isoflop import isoflop, methods_disagree
from pdstudy.analysis.scaling.scenarios import ComputeModel, compare_scenarios
from pdstudy.analysis.summary import summary
from pdstudy.analysis.tables.builders import comparison_table, design_table, fit_table, number
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.format import si

EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
HOFFMANN_PRINTED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
DATABLATIONS = {"A": float(np.exp(6.255414)), "B": float(np.exp(7.3049974)), "E": float(np.exp(0.6254804)),
                "alpha": 0.3526596, "beta": 0.3526596}  # fmt: skip


def chinchilla(data: Path, dropped: int = 5) -> pd.DataFrame:
    """The points Epoch AI read off figure 4 of Hoffmann et al., without the `dropped` highest losses."""
    table = pd.read_csv(data / "chinchilla_epoch" / "svg_extracted_data.csv")
    table = table.rename(columns={"Model Size": "N", "Training FLOP": "C"})
    table["D"] = table["C"] / (6 * table["N"])
    return table[table["loss"] < table["loss"].nlargest(dropped).min()] if dropped else table


def porian(data: Path, **config: str) -> pd.DataFrame:
    """The isoFLOP points of one of Porian et al.'s configurations."""
    table = pd.read_csv(data / "porian" / "isoflop_points.csv")
    for key, value in config.items():
        table = table[table[key] == value]
    return table


def plain_table(frame: pd.DataFrame, caption: str, label: str, digits: int = 4) -> Table:
    """A frame as a table: whole numbers as they are, large ones as 1.9B, others to `digits` significant digits."""
    rows = []
    for row in frame.itertuples(index=False):
        cells: list[TableCell | str] = []
        for value in row:
            if isinstance(value, (int, np.integer)):
                cells.append(TableCell(str(value), int(value)))
            elif isinstance(value, float):
                cells.append(TableCell(_shorten(value, digits), value))
            else:
                cells.append(str(value))
        rows.append(tuple(cells))
    return Table(tuple(map(str, frame.columns)), tuple(rows), caption, label)


def _shorten(value: float, digits: int) -> str:
    """1.9B for counts; FLOPs, which begin where counts end, as powers of ten."""
    if abs(value) >= 1e15:
        return f"{value:.3g}".replace("e+", "e")
    return si(value) if abs(value) >= 1e6 else number(value, digits)


def law_section(data: Path) -> tuple[Section, Fit]:
    """Chinchilla's points: fit, bootstrap, selection, sensitivity."""
    table = chinchilla(data)
    fitted = fit(table, HOFFMANN)
    resampled = bootstrap(fitted, 4000)
    tests = {f"C ≥ {c:.0e}".replace("e+", "e"): (table["C"] >= c).to_numpy() for c in (1e20, 3e20, 1e21)}
    chosen = select(points(table, HOFFMANN), [TIED, HOFFMANN, GAMMA, KAPLAN], tests)
    held = hold_out(points(table, HOFFMANN), HOFFMANN, tests["C ≥ 1e21"])
    deltas = [1e-1, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4]
    swept = pd.DataFrame([{"delta": d, **fit(table, HOFFMANN, delta=d).parameters} for d in deltas])
    dropped = pd.DataFrame([{"dropped": k, **fit(chinchilla(data, k), HOFFMANN).parameters} for k in (0, 1, 3, 5, 10)])
    errors = resampled.errors()
    spans = {n: fitted.parameters[n] + np.linspace(-3, 3, 25) * errors[n] for n in ("alpha", "beta", "E")}
    profiles = {n: profile(fitted, n, list(span)) for n, span in spans.items()}
    budgets = list(np.geomspace(1e18, 1e25, 15))
    by_compute = _envelope(table)
    blocks: tuple[Block, ...] = (
        Listing(summary(fitted)),
        fit_table(fitted, resampled, EPOCH, "Chinchilla's points (published: Epoch AI).", "tab:chinchilla"),
        figures.predicted_and_measured(held),
        figures.residual_panels({law.name: fit(table, law) for law in (HOFFMANN, KAPLAN)}),
        figures.pair_ellipses(resampled, {"Epoch AI": EPOCH, "Hoffmann et al.": HOFFMANN_PRINTED}),
        figures.profile_curves(fitted, profiles),
        figures.sensitivity(
            swept, x="delta", x_label="Huber δ", values={"E": "$E$", "alpha": r"$\alpha$", "beta": r"$\beta$"},
            caption="The fit against the Huber threshold (240 runs): below 1e-3 it is a least-absolute fit.",
        ),
        plain_table(dropped, "The fit against how many of the highest losses are left out.", "tab:dropped"),
        plain_table(chosen, "Choice of a law, led by hold-out (rms log error).", "tab:select"),
        figures.held_out_errors(chosen, caption="rms log error on runs held out by compute, best law first."),
        figures.allocation_curves(allocate(fitted, budgets, bootstrap=resampled)),
        figures.loss_surface(fitted),
        figures.loss_and_law(*by_compute, x="C", x_label="compute C (FLOPs)"),
    )  # fmt: skip
    return Section("Scaling law of 240 runs (Chinchilla, points read by Epoch AI)", blocks), fitted


def _envelope(table: pd.DataFrame) -> tuple[dict[str, Fit], dict[str, object]]:
    """The lowest loss in each of 14 bins of compute, and the power law through them."""
    bins = pd.cut(np.log(table["C"]), 14, labels=False)
    lowest = table.loc[table.groupby(bins)["loss"].idxmin()]
    fitted = fit(lowest, power_law("C"))
    return {"lowest loss per bin": fitted}, {"lowest loss per bin": bootstrap(fitted, 1000)}


def isoflop_section(data: Path) -> Section:
    """Porian et al.'s points: curves, frontier, methods."""
    config = {
        "dataset": "rw",
        "hparams": "base",
        "warmup": "long",
        "decay": "kaplan",
        "param_count": "standard",
        "val": "val",
    }
    table = porian(data, **config)
    found = isoflop(table, n="n", budget="flops", method=Method.AKIMA, noise=0.005)
    methods = methods_disagree(table, n="n", budget="flops", noise=0.005)
    optima = found.to_frame()[["budget", "sizes", "n", "d", "loss", "tokens_per_parameter", "valid", "refused"]]
    return Section(
        "isoFLOP: best size per budget (Porian et al., RefinedWeb, long warm-up)",
        (
            figures.isoflop_curves(found),
            plain_table(optima, "Minima per budget by Akima's curve.", "tab:isoflop"),
            plain_table(
                methods, "Exponent of N* by method; the full parabola is off on a grid this wide.", "tab:methods"
            ),
        ),
    )


def repeats_section(data: Path) -> Section:
    """Muennighoff et al.'s runs: a surface with many minima, said so."""
    table = pd.read_csv(data / "datablations" / "fit_set_182.csv")
    columns = {"N": "params", "D": "tokens", "U": "unique_tokens"}
    fitted = fit(table, REPEATS, loss="val_loss", columns=columns, fixed=DATABLATIONS)
    profiles = {
        "R_D": profile(fitted, "R_D", np.geomspace(4, 1000, 15)),
        "R_N": profile(fitted, "R_N", np.geomspace(0.5, 30, 15)),
    }
    surface = figures.repeats_surface(
        fitted.parameters, 1e10, epochs=np.geomspace(1, 100, 50), sizes=np.geomspace(1e8, 2e10, 50)
    )
    return Section(
        "Repeated data (Muennighoff et al., 182 runs)",
        (
            Listing(summary(fitted)),
            figures.profile_curves(fitted, profiles, logarithmic=("R_D", "R_N")),
            surface,
        ),
    )


def distillation_section() -> Section:
    """Busbridge et al.'s published coefficients (Table 6): what their law says."""
    model = ComputeModel()
    losses = np.linspace(1.65, 3.0, 120)
    students = ((1.98e8, 20 * 1.98e8), (5.46e8, 20 * 5.46e8), (5.46e8, 1e11), (1.82e9, 1e11), (3e9, 5e11))
    sizes, tokens = np.geomspace(1e8, 1e10, 40), np.geomspace(1e9, 1e12, 40)
    budgets = list(np.geomspace(1e20, 1e25, 9))
    scenarios = pd.concat([compare_scenarios(model, n, budgets) for n in (5.46e8, 3e9)], ignore_index=True)
    shown = scenarios[scenarios["budget"] == budgets[4]].drop(columns="budget")
    caption = f"Best allocation at C = {budgets[4]:.2g} FLOPs."
    return Section(
        "Distillation law (Busbridge et al., Table 6): capacity gap, distil or train, scenarios",
        (
            figures.student_and_teacher(model, students, losses),
            figures.u_curves(model, 5.46e8, [2e10, 1e11, 5e11], np.geomspace(1e8, 3e11, 80)),
            figures.distil_or_train_map(model, sizes, tokens, [1.9, 2.1, 2.3]),
            figures.best_teacher_map(model, sizes, tokens),
            figures.scenario_losses(scenarios),
            figures.scenario_allocation(scenarios, 3e9),
            plain_table(shown, caption, "tab:scenarios"),
        ),
    )


def paper_section() -> Section:
    """Figures 1 to 5 of Peng et al., from the numbers they print."""
    once = " One run per point, so no intervals (Peng et al. 2024"
    suite = published.SUITE.melt("arm", published.TASKS, "dataset").assign(low=np.nan, high=np.nan)
    return Section(
        "The paper's own figures (Peng et al. 2024)",
        (
            figures.bars(suite, caption=f"A student of 6.8B by training objective.{once}, tables 11 and 13)."),
            figures.gain_and_kept(
                published.BY_P, x="p", x_label="p (top-p-100)",
                caption=f"Gain against p, and kept logits.{once}, figure 2).",
            ),
            figures.gain_and_kept(
                published.BY_K, x="k", x_label="k (top-0.95-k)", logarithmic=True,
                caption=f"Gain against k, and kept logits.{once}, figure 3).",
            ),
            figures.gain_by_size(published.BY_SIZE, caption=f"Gain over LM against student size.{once}, figure 4)."),
            figures.learning_curves(
                published.BY_TOKENS, y="accuracy", y_label="average accuracy (%)", markers=True
            ),
            design_table(
                published.SUITE, metrics=published.TASKS, baseline="LM", caption="6.8B student (%).", label="tab:suite"
            ),
        ),
    )  # fmt: skip


OURS = Path(__file__).parents[1]
"""The reports of our own studies: their runs are beside this folder."""


def runs_section(data: Path) -> Section:
    """Learning curves and comparisons: translation runs of others, and our own students with paired seeds."""
    nmt = pd.read_csv(data / "alabdulmohsin_nmt" / "nmt.csv")
    nmt = nmt.rename(columns={"Seen Examples": "tokens", "Loss": "loss", "Model": "arm"}).assign(seed=0)
    students = pd.read_csv(OURS / "quickstart" / "data" / "runs.csv").rename(
        columns={"loss": "arm", "test_loss": "test loss"}
    )
    curves = pd.read_csv(OURS / "quickstart" / "data" / "evaluations.csv").rename(
        columns={"loss": "arm", "nats_per_token": "loss"}
    )
    curves = curves[(curves["split"] == "validation") & (curves["student"] == "w64")]
    compared = compare(students, metric="test loss", baseline="LM", within=("student",), margin=0.03)
    rates = _learning_rates()
    ours = " Own runs: studies/quickstart.py."
    plots: list[Block] = [
        figures.learning_curves(
            nmt, x_label="training examples", y_label="log perplexity (nats)", markers=True, logarithmic=True
        ),
        _note(figures.learning_curves(curves), ours + " Student w64."),
        _note(figures.effects(compared), ours),
        replace(comparison_table(compared, label="tab:comparison"), caption=compared.caption() + ours),
        figures.small_multiples(
            rates, y_label="validation loss (nats per token)", logarithmic=tuple(rates["axis"]),
            caption="KD students of four sizes against the peak learning rate, mean of 2 seeds, 95 % t intervals "
            "from the spread pooled over rates; filled: lowest. Own runs: studies/lr.py.",
        ),
    ]  # fmt: skip
    return Section("Runs and comparisons", tuple(plots))


def _learning_rates() -> pd.DataFrame:
    """Mean validation loss of the KD students at each rate, with intervals from the spread pooled over rates."""
    table = pd.read_csv(OURS / "lr" / "data" / "runs.csv")
    table = table[table["loss"] == "KD"]
    rows = []
    for student, part in table.groupby("student", sort=False):
        by_rate = part.groupby("lr")["validation_loss"]
        dof = int((by_rate.size() - 1).sum())
        pooled = float(np.sqrt((by_rate.var() * (by_rate.size() - 1)).sum() / dof))
        for rate, values in by_rate:
            reach = pooled / np.sqrt(len(values)) * float(stats.t.ppf(0.975, dof))
            mean = float(values.mean())
            rows.append(
                {
                    "axis": f"learning rate, {student}",
                    "x": rate,
                    "value": mean,
                    "low": mean - reach,
                    "high": mean + reach,
                }
            )
    return pd.DataFrame(rows)


def _note(plot: Plot, text: str) -> Plot:
    return replace(plot, caption=plot.caption + text)


def build(data: Path, out: Path) -> Path:
    """Draw everything and write `index.html`, which holds all."""
    law, fitted = law_section(data)
    sections = (
        law,
        isoflop_section(data),
        repeats_section(data),
        distillation_section(),
        paper_section(),
        runs_section(data),
    )
    intro = Text(
        "Every kind of figure and table that the analysis has, drawn from published results where they exist. "
        "The numbers of each figure are a link below it, as are those of each table and its LaTeX."
    )
    named = (save_blocks(section, number, "gallery", out, NONE) for number, section in enumerate(sections, 1))
    provenance = {
        "data": "Epoch AI, from Hoffmann et al.; Porian et al.; Muennighoff et al.; Alabdulmohsin et al.; Peng et al.",
        "fit": f"objective {fitted.objective:.14e}, {fitted.agreeing} of {fitted.polished} minimisations agree",
        "bootstrap": "4000 resamples of runs, seed 0",
    }
    page = Page("Gallery of figures and tables", (Section("What this is", (intro,)), *named), provenance=provenance)
    return page.save(out / "index.html")


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), Path(sys.argv[2])))
