"""A report of a study, of a folder of studies or of a search: its pages, and the data that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pdstudy.analysis.data.excerpt import Report, open_excerpt, save_excerpt
from pdstudy.analysis.errors import DataError
from pdstudy.analysis.report.index_page import build_index
from pdstudy.analysis.report.page import Link
from pdstudy.analysis.report.report_files import WANTED, FilesBeside
from pdstudy.analysis.report.search_page import build_search
from pdstudy.analysis.report.study_page import build, build_page, show_runs


def write_report(
    workspace: Path,
    report: Report,
    out: Path,
    beside: FilesBeside = WANTED,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> str:
    """Write `out`/index.html, of a folder's studies also a page each in `out`/STUDY/, and `out`/data/, from which
    `rewrite_report` makes the same pages. Returns what a terminal shows.

    Raises:
        DataError: a paper is wanted of a search.
    """
    if report.search is not None:
        if beside.paper:
            raise DataError(
                f"--for paper: found the search {report.title}; allowed: a study or a folder of studies; leave it out, "
                "and --format tex writes the tables of a search"
            )
        text = build_search(workspace, report.search, next(iter(report.records), None), out, beside)
    elif len(report.records) == 1:
        text = build(workspace, report.records[0], out, beside)
    else:
        up, made = Link("../index.html", report.title), []
        for number, record in enumerate(report.records):
            progress(f"writing {record['study']}", number / len(report.records))
            made.append(build_page(workspace, record, out / record["study"], beside, up))
        build_index(report.title, made, out)
        text = "\n\n".join(f"{each.record['study']}\n{show_runs(each)}" for each in made)
    save_excerpt(workspace, report, out / "data")
    return text


def rewrite_report(data: Path, out: Path, beside: FilesBeside = WANTED) -> str:
    """Write a report once more from the folder data/ of its pages, as `write_report` does.

    Raises:
        DataError: the folder holds no page data, or it is damaged.
    """
    with open_excerpt(data) as (workspace, report):
        return write_report(workspace, report, out, beside)
