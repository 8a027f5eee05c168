"""A study's report: from its record and run directories to figures, tables and one page. Works on partial data.

`pdstudy.analysis.report.study_outputs` turns each declared output into figures and tables; where the data cannot carry
one, a sentence says why. Equal results give equal files."""

from __future__ import annotations

import datetime
from pathlib import Path

import pandas as pd

from pdstudy.analysis.data.runs import arm_summary, final_evaluations, heldout
from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.data.task_answers import load_answers
from pdstudy.analysis.figures.medium import SCREEN, drawn_for
from pdstudy.analysis.report.answer import answer
from pdstudy.analysis.report.downstream_section import task_blocks
from pdstudy.analysis.report.kept_entries import kept_blocks
from pdstudy.analysis.report.page import Block, Folded, Link, Page, Section, Text
from pdstudy.analysis.report.paper_fragments import write_paper
from pdstudy.analysis.report.report_files import WANTED, FilesBeside, save_blocks
from pdstudy.analysis.report.run_list import list_runs
from pdstudy.analysis.report.settings import settings_table
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.teacher_section import teacher_table, teacher_warnings
from pdstudy.analysis.tables.finetuned import finetuning_table
from pdstudy.analysis.tables.table import Table
from pdstudy.core.run_files import whole_answers, whole_run_file


def build(workspace: Path, record: Record, out: Path, beside: FilesBeside = WANTED, up: Link | None = None) -> str:
    """Write `out`/index.html with figures/, tables/ and data/. Returns the result table as text."""
    return show_runs(build_page(workspace, record, out, beside, up))


def show_runs(report: Outputs) -> str:
    """The result table of a study as text."""
    table = arm_summary(report.runs)
    return table.to_string(index=False) if len(table) else "no runs: stores alone"


def build_page(
    workspace: Path, record: Record, out: Path, beside: FilesBeside = WANTED, up: Link | None = None
) -> Outputs:
    """Write `out`/index.html with figures/, tables/ and data/. Returns what they are made of."""
    with drawn_for(SCREEN):
        page, report = make_page(workspace, record, out, beside, up)
        page.save(out / "index.html")
    page.close()
    (out / "data").mkdir(parents=True, exist_ok=True)
    report.runs.to_csv(out / "data" / "runs.csv", index=False, lineterminator="\n")
    report.evaluations.to_csv(out / "data" / "evaluations.csv", index=False, lineterminator="\n")
    answers = load_answers(workspace, record)
    if len(answers):
        answers.to_csv(out / "data" / "answers.csv", index=False, lineterminator="\n")
    return report


def make_page(workspace: Path, record: Record, out: Path, beside: FilesBeside, up: Link | None) -> tuple[Page, Outputs]:
    """The page of a study, whose files beside it are written, and what it is made of."""
    report = Outputs(workspace, record)
    texts = (
        _count_runs(report) if record["cells"] else "",
        report.diverged,
        _warn_of_temperatures(report),
        *teacher_warnings(workspace, record, report.runs),
    )
    answers = answer(report.comparisons)
    opening: list[Block] = [
        *([Text(record["about"])] if record["about"] else []),
        *answers,
        *(Text(t) for t in texts if t),
    ]
    sections = [Section("Question and answer" if answers else "Question", tuple(opening))]
    settings = settings_table(workspace, record, report.runs)
    shown: list[tuple[str, list[Block]]] = [("Settings", [settings])] if settings else []
    shown += report.sections()
    verdicts = report.compared.verdicts()
    shown += [("Verdict by metric", verdicts)] if verdicts else []
    answered = task_blocks(workspace, record, report.comparisons)
    finetuned = finetuning_table(workspace, record)
    shown += [] if finetuned is None else [("Finetuning", [finetuned])]
    shown += [("Downstream tasks", answered)] if answered else []
    shown += [(f"Kept of {each['name']}", kept_blocks(workspace, each["store"])) for each in record.get("captures", ())]
    teachers = teacher_table(workspace, record)
    shown += [] if teachers is None else [("Teachers", [teachers])]
    table = arm_summary(report.runs)
    if len(table):
        each = Folded("Each run", (list_runs(workspace, report.runs, out),))
        shown.append(("All arms", [_make_arm_table(table), each]))
    for number, (title, blocks) in enumerate(shown, 1):
        sections.append(save_blocks(Section(title, tuple(blocks)), number, record["study"], out, beside))
    page = Page(record["title"], tuple(sections), _warn_of_missing(report), collect_provenance(report), up)
    if beside.paper:
        write_paper(page, report, out)
    return page, report


def _make_arm_table(frame: pd.DataFrame) -> Table:
    rows = tuple(tuple(str(v) for v in row) for row in frame.itertuples(index=False))
    return Table(tuple(map(str, frame.columns)), rows, "Mean over seeds ± standard deviation; loss in nats per token.")


def _count_runs(report: Outputs) -> str:
    runs = report.runs.drop_duplicates("run")  # several arms may share one run
    counts = ", ".join(f"{n} {state}" for state, n in runs["state"].value_counts().items())
    shared = f" for {len(report.runs)} combinations of arm and seed" if len(runs) < len(report.runs) else ""
    seeds = report.runs["seed"].nunique()
    return f"{len(runs)} runs{shared}, {seeds} seed{'s' if seeds > 1 else ''}: {counts}."


def _warn_of_temperatures(report: Outputs) -> str:
    """Runs whose recalibration would have taken a temperature outside its range, as a sentence; empty without any."""
    wanted, ended = heldout(report.record), []
    for key, cells in report.trained.groupby("run", sort=False)["cell"]:
        result = whole_run_file(report.workspace / "runs" / str(key), "result.json") or {}
        if any(evaluation.get("temperature_at_end") for evaluation in final_evaluations(result, wanted)):
            ended += list(cells)
    named = ", ".join(ended[:5]) + (f" and {len(ended) - 5} more" if len(ended) > 5 else "")
    return f"Recalibration stopped at an end of its range of temperatures, 1/4 to 4: {named}." if ended else ""


def _warn_of_missing(report: Outputs) -> str:
    """Results that the study wants and lacks, as a sentence; empty where they are whole."""
    runs = report.runs
    missing = runs[~runs["state"].isin(["done", "diverged"])]
    lacking = []
    if len(missing):
        states = missing["state"].replace("evaluate", "not evaluated")
        shown = ", ".join(f"{c} ({s})" for c, s in zip(missing["cell"][:5], states[:5]))
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        lacking.append(f"{len(missing)} of {len(runs)} runs are not done: {shown}{more}")
    models = {each["key"] for cell in report.record["cells"] for each in cell.get("downstream", ())}
    answered = sum(whole_answers(report.workspace / "downstream" / key) is not None for key in models)
    if answered < len(models):
        lacking.append(f"{len(models) - answered} of {len(models)} models are not evaluated on their tasks")
    return f"Partial results: {'; '.join(lacking)}." if lacking else ""


def collect_provenance(report: Outputs) -> dict[str, str]:
    """Where the numbers come from: the newest run's date, and every version, commit and machine that occurs."""
    notes: dict[str, set[str]] = {}
    for key in sorted(set(report.runs["run"])):
        stored = whole_run_file(report.workspace / "runs" / key, "provenance.json") or {}
        for name in ("commit", "dirty", "packages", "python", "processor", "device", "ranks", "threads", "attention"):
            if stored.get(name) is not None:
                value = stored[name]
                if isinstance(value, dict):
                    value = ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
                notes.setdefault(name, set()).add(str(value))
    results = [whole_run_file(report.workspace / "runs" / k, "result.json") for k in set(report.runs["run"])]
    newest = max((r["finished"] for r in results if r and "finished" in r), default=None)
    lines = {"study": report.record["study"], "runs used": f"{len(report.trained)} of {len(report.runs)}"}
    if newest is not None:
        lines["newest run"] = f"{datetime.datetime.fromtimestamp(newest, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    lines["corpus"] = ", ".join(f"{c['name']} ({c['key']})" for c in report.record["corpora"])
    return lines | {name: "; ".join(sorted(values)) for name, values in notes.items()}
