"""The index of a folder of studies: what each asked, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pdstudy.analysis.data.study_record import Record
from pdstudy.analysis.report.page import Link, Page, Section, Text


def build_index(title: str, records: Sequence[Record], out: Path) -> Path:
    """Write `out`/index.html: the studies of a folder, each a link to its page in `out`/STUDY/."""
    links = tuple(Link(f"{record['study']}/index.html", record["title"], record["about"]) for record in records)
    opening = Text(f"{len(records)} studies; the runs that they share were made once.")
    return Page(title, (Section("Studies", (opening, *links)),)).save(out / "index.html")
