"""Figures and tables of a page as files beside it, in the formats wanted, with their names and links."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pdstudy.analysis.figures.medium import PAPER, Medium
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.style import FIGURE_FORMATS
from pdstudy.analysis.report.page import Block, Exhibit, Folded, Section
from pdstudy.analysis.tables.table import TABLE_FORMATS, Table

FORMATS = tuple(dict.fromkeys((*FIGURE_FORMATS, *TABLE_FORMATS)))
"""Kinds of files beside a page: of figures, of tables, and CSV of both."""


@dataclass(frozen=True)
class FilesBeside:
    """Files wanted beside a page: which kinds, and the medium that their figures are drawn for."""

    formats: tuple[str, ...] = ("pdf", "svg", "png", "csv", "md", "tex")
    medium: Medium = PAPER
    paper: bool = False
    """Whether LaTeX that takes them in is written, too."""


WANTED = FilesBeside()
NONE = FilesBeside(())


def save_blocks(section: Section, number: int, study: str, out: Path, beside: FilesBeside = WANTED) -> Section:
    """Write a section's figures and tables as files, named by its number and title, and return it with their links.
    LaTeX labels also have the study's name, so that a paper can take tables of several studies."""
    base, name = f"{number}-{make_slug(section.title)}", make_slug(study)
    count = 0

    def save(block: Block) -> Block:
        nonlocal count
        if isinstance(block, Folded):
            return Folded(block.title, tuple(map(save, block.blocks)))
        stem = base + (f"-{count}" if count else "")
        count += 1
        if isinstance(block, Table):
            return _save_table(replace(block, label=f"tab:{name}-{stem}"), out, stem, f"{name}-{stem}", beside)
        return _save_plot(block, out, stem, f"{name}-{stem}", beside) if isinstance(block, Plot) else block

    return Section(section.title, tuple(map(save, section.blocks)))


def _save_plot(plot: Plot, out: Path, stem: str, name: str, beside: FilesBeside) -> Exhibit:
    wanted = [kind for kind in beside.formats if kind in (*FIGURE_FORMATS, "csv")]
    files = plot.save(out / "figures" / stem, wanted, beside.medium) if wanted else []
    return Exhibit(plot, name, tuple(f"figures/{path.name}" for path in files))


def _save_table(table: Table, out: Path, stem: str, name: str, beside: FilesBeside) -> Exhibit:
    wanted = [kind for kind in beside.formats if kind in TABLE_FORMATS]
    files = table.save(out / "tables" / stem, wanted) if wanted else []
    return Exhibit(table, name, tuple(f"tables/{path.name}" for path in files))


def make_slug(title: str) -> str:
    """A title as part of a file's name and of a label."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
