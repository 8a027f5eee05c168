"""A search's report: figures, tables, cost, and the final comparison on fresh seeds where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pdstudy.analysis.data.study_record import Record, axis_column
from pdstudy.analysis.data.trials_table import Searched
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures import search_trials as figures
from pdstudy.analysis.figures.medium import SCREEN, drawn_for
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.ternary import ternary
from pdstudy.analysis.report.page import Block, Page, Section, Text
from pdstudy.analysis.report.report_files import WANTED, FilesBeside, save_blocks
from pdstudy.analysis.report.search_answer import answer_search
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import collect_provenance
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.format import si

SHOWN = 15


def build_search(workspace: Path, record: Record, final: Record | None, out: Path, beside: FilesBeside = WANTED) -> str:
    """Write `out`/index.html with figures/, tables/ and data/. Returns the table of the best trials as text.

    `final` is the record of the final comparison, an ordinary study; None where there is none, or not yet.
    """
    with drawn_for(SCREEN):
        page, searched, report = _make_page(workspace, record, final, out, beside)
        page.save(out / "index.html")
    page.close()
    (out / "data").mkdir(parents=True, exist_ok=True)
    searched.trials.to_csv(out / "data" / "trials.csv", index=False, lineterminator="\n")
    if report is not None:
        report.runs.to_csv(out / "data" / "final.csv", index=False, lineterminator="\n")
    best = best_table(searched)
    return pd.DataFrame([[c.text if isinstance(c, TableCell) else c for c in row] for row in best.rows],
                        columns=list(best.columns)).to_string(index=False)  # fmt: skip


def _make_page(
    workspace: Path, record: Record, final: Record | None, out: Path, beside: FilesBeside
) -> tuple[Page, Searched, Outputs | None]:
    """The page, whose files beside it are written, the search, and its final comparison where there is one."""
    searched = Searched(record)
    report = None if final is None else Outputs(workspace, final)
    about = [Text(t) for t in (record["about"], _describe_search(searched)) if t]
    sections = [
        Section("Question and answer", (*about, *answer_search(searched, report))),
        Section("Trials and cost", (cost_table(searched),)),
        Section("Best trials", (best_table(searched),)),
        Section("History", (_draw_or_say_why(lambda: figures.history(searched)),)),
        *(Section("Mixture", (_draw_or_say_why(lambda s=s: ternary(searched, s)),)) for s in searched.simplexes),  # type: ignore[misc]
        Section("Importances", (_draw_or_say_why(lambda: figures.importances(searched)),)),
        Section("Slices", (_draw_or_say_why(lambda: figures.slices(searched)),)),
        Section("Contours", (_draw_or_say_why(lambda: figures.contours(searched)),)),
    ]
    if searched.rungs:
        sections.append(Section("Pruning", (_draw_or_say_why(lambda: figures.pruning(searched)),)))
    if len(record["objectives"]) > 1:
        sections.append(Section("Front", (_draw_or_say_why(lambda: figures.front(searched)),)))
    notes: dict[str, str] = {"search": record["identity"]}
    if final is not None and report is not None:
        sections.append(
            Section(
                "Fresh seeds",
                (Text(final["about"]), _count_runs(report), *_compare_fresh(searched, report)),
            )
        )
        sections += [Section(title, tuple(blocks)) for title, blocks in report.sections()]
        verdicts = report.compared.verdicts()
        sections += [Section("Verdict by metric", tuple(verdicts))] if verdicts else []
        notes |= collect_provenance(report)
    numbered = enumerate(sections, 1)
    written = tuple(save_blocks(section, number, record["search"], out, beside) for number, section in numbered)
    return Page(record["title"], written, _warn_of_missing(searched), notes), searched, report


def _draw_or_say_why(make: Callable[[], Plot]) -> Block:
    try:
        return make()
    except AnalysisError as error:
        return Text(f"Not shown: {error}.")


def _describe_search(searched: Searched) -> str:
    record = searched.record
    pruner = record["pruner"]
    seeds = record["seeds"]
    text = f"{record['sampler']}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''} per trial, "
    text += f"{si(record['lengths'][-1])} tokens; objective: {' and '.join(record['objectives'])}."
    if pruner:
        rungs = ", ".join(si(t) for t in pruner["rungs"])
        text += (
            f" Rungs at {rungs} tokens: the best {pruner['keep']:.0%} go on, and those within {pruner['band']:g} nats."
        )
    return text


def _warn_of_missing(searched: Searched) -> str:
    ended = int((~searched.trials["state"].isin(["reused", "running"])).sum())
    wanted = searched.record["wanted"]
    return "" if ended >= wanted else f"The search goes on: {ended} of {wanted} trials have ended."


def cost_table(searched: Searched) -> Table:
    """States of the trials, and their cost beside that of the same trials trained in full."""
    trials, record = searched.trials, searched.record
    own = trials[trials["state"] != "reused"]
    states = own["state"].value_counts()
    full = float(own["full_flops"].sum())
    spent = float(own["flops"].sum())
    answered = own[(own["state"] == "complete") & (own["trained"] == 0)]
    ends = [t["ended"] for t in record["trials"] if t["state"] != "reused" and t["ended"]]
    starts = [t["started"] for t in record["trials"] if t["state"] != "reused" and t["started"]]
    rows: list[tuple[str, TableCell]] = [("trials", _count_cell(len(own)))]
    rows += [(f"  {name}", _count_cell(int(states.get(key, 0)))) for name, key in
             (("complete", "complete"), ("pruned", "pruned"), ("failed", "fail"), ("running", "running"))]  # fmt: skip
    beyond = int((own["value"].notna() & ~own["within"].astype(bool)).sum())
    rows += [("beyond a constraint", _count_cell(beyond))] if beyond else []
    rows += [
        ("answered from the workspace without training", _count_cell(len(answered))),
        ("finished runs reused as trials", _count_cell(int((trials["state"] == "reused").sum()))),
        ("runs trained", _count_cell(int(own["trained"].sum()))),
        ("training compute (FLOPs)", TableCell(si(spent), spent)),
        ("the same trials, all in full, as random search has them (FLOPs)", TableCell(si(full), full)),
        ("share of that", TableCell(f"{spent / full:.0%}" if full else "-", spent / full if full else 0.0)),
        ("seconds of its runs", TableCell(f"{own['seconds'].sum():.0f}", float(own["seconds"].sum()))),
    ]
    if ends and starts:
        wall = max(ends) - min(starts)
        rows.append(("seconds from the first trial's start to the last one's end", TableCell(f"{wall:.0f}", wall)))
    caption = "Compute of the students' training steps, without evaluation and without what trials share with studies."
    return Table(("", "search"), tuple(rows), caption)


def _count_cell(n: int) -> TableCell:
    return TableCell(str(n), n)


def best_table(searched: Searched) -> Table:
    """The best trials with all their dimensions."""
    scored = searched.scored.sort_values(["value", "number"]).head(SHOWN)
    dimensions = [d for d in searched.dimensions if d.column in scored]
    rows = []
    for _, trial in scored.iterrows():
        name = f"{trial['number']}{' (reused)' if trial['state'] == 'reused' else ''}"
        cells: list[TableCell | str] = [name, TableCell(f"{trial['value']:.4f}", trial["value"])]
        for d in dimensions:
            value = trial[d.column]
            digits = ".3f" if d.kind == "weight" else ".3g"
            cells.append(
                "-" if pd.isna(value) else str(value) if d.kind == "choice" else TableCell(f"{value:{digits}}", value)
            )
        rows.append(tuple(cells))
    loss = searched.objective.partition(" (")[0]
    columns = ("trial", loss, *(d.label.removeprefix("weight of ") for d in dimensions))
    caption = (
        f"The best {len(rows)} of {len(searched.scored)} trials that were trained in full, by {searched.objective}"
    )
    caption += "; of losses, their weights." if searched.simplexes else "."
    return Table(columns, tuple(rows), caption)


def _count_runs(report: Outputs) -> Text:
    counts = ", ".join(f"{n} {state}" for state, n in report.runs["state"].value_counts().items())
    seeds = ", ".join(map(str, report.record["seeds"]))
    return Text(f"{len(report.runs)} runs on seeds {seeds}: {counts}.")


def _compare_fresh(searched: Searched, report: Outputs) -> list[Block]:
    """Scores of the best trials in the search, and on fresh seeds."""
    rows = []
    values = {f"trial {number:.0f}": float(value) for number, value in searched.scored[["number", "value"]].to_numpy()}
    for arm, part in report.trained.groupby(axis_column("arm"), sort=False):
        name = str(arm)
        found = values.get(name)
        cells: list[TableCell | str] = [
            name,
            str(len(part)),
            "-" if found is None else TableCell(f"{found:.4f}", found),
        ]
        for column in ("validation_loss", "test_loss", "test_recalibrated"):
            mean, spread = float(part[column].mean()), float(part[column].std())
            text = f"{mean:.4f} ± {spread:.4f}" if len(part) > 1 else f"{mean:.4f}"
            cells.append("-" if pd.isna(mean) else TableCell(text, mean))
        rows.append(tuple(cells))
    if not rows:
        return [Text("Not shown: no run of it is done yet.")]
    columns = ("arm", "seeds", "in the search", "validation, fresh seeds", "test, fresh seeds", "test, recalibrated")
    caption = (
        "Means over fresh seeds ± standard deviation (nats/token). The score in the search selected the trial and so "
        "is biased; the columns beside it are not."
    )
    return [Table(columns, tuple(rows), caption)]
