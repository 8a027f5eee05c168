"""Figures and tables of a page as files beside it, in the formats wanted, with their names and links."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pdstudy.analysis.figures.medium import PAPER, Medium
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.figures.style import FIGURE_FORMATS
from pdstudy.analysis.report.page import Exhibit, Section
from pdstudy.analysis.tables.table import TABLE_FORMATS, Table

FORMATS = tuple(dict.fromkeys((*FIGURE_FORMATS, *TABLE_FORMATS)))
"""Kinds of files beside a page: of figures, of tables, and CSV of both."""


@dataclass(frozen=True)
class FilesBeside:
    """Files wanted beside a page: which kinds, and the medium that their figures are drawn for."""

    formats: tuple[str, ...] = ("pdf", "svg", "png", "csv", "md", "tex")
    medium: Medium = PAPER


WANTED = FilesBeside()
NONE = FilesBeside(())


def save_blocks(section: Section, number: int, study: str, out: Path, beside: FilesBeside = WANTED) -> Section:
    """Write a section's figures and tables as files, named by its number and title, and return it with their links.
    LaTeX labels also have the study's name, so that a paper can take tables of several studies."""
    blocks = list(section.blocks)
    for i, block in enumerate(blocks):
        stem = f"{number}-{make_slug(section.title)}" + (f"-{i}" if i else "")
        if isinstance(block, Table):
            block = replace(block, label=f"tab:{make_slug(study)}-{stem}")
        if isinstance(block, (Plot, Table)):
            folder = "figures" if isinstance(block, Plot) else "tables"
            known = (*FIGURE_FORMATS, "csv") if isinstance(block, Plot) else TABLE_FORMATS
            wanted = [kind for kind in beside.formats if kind in known]
            medium = {"medium": beside.medium} if isinstance(block, Plot) else {}
            files = block.save(out / folder / stem, wanted, **medium) if wanted else []
            blocks[i] = Exhibit(block, f"{make_slug(study)}-{stem}", tuple(f"{folder}/{path.name}" for path in files))
    return Section(section.title, tuple(blocks))


def make_slug(title: str) -> str:
    """A title as part of a file's name and of a label."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
