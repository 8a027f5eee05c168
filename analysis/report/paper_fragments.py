"""A study for a paper: its figures, tables, methods and references as LaTeX that compiles, to be taken in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.report.methods import known_references, methods
from pdstudy.analysis.report.page import Block, Exhibit, Folded, Page
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.tables.table import latex
from pdstudy.core.files import write_bytes

HEAD = r"""% Fragments for a paper: take what you need. They need the packages below.
\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}  % rules of tables
\usepackage{siunitx}  % \num in the methods
\usepackage{graphicx}  % figures as PDF
\usepackage{pgf}  % figures as PGF
\DeclareUnicodeCharacter{2212}{\ensuremath{-}}
\begin{document}
"""

END = r"""
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def write_paper(page: Page, report: Outputs, out: Path) -> None:
    """Write `out`/paper.tex, which takes in methods.tex, references.bib and the files of the page's figures and tables;
    these have to be there as TEX, and as PDF or PGF."""
    text, keys = methods(report)
    write_bytes(out / "methods.tex", f"{text}\n".encode())
    entries = known_references()
    write_bytes(out / "references.bib", ("\n\n".join(entries[key] for key in keys) + "\n").encode())
    parts = [HEAD, rf"\section*{{{latex(page.title)}}}", r"\input{methods}", ""]
    parts += [_include(exhibit) for section in page.sections for exhibit in _exhibits(section.blocks)]
    write_bytes(out / "paper.tex", ("\n".join(parts) + END).encode())


def _exhibits(blocks: tuple[Block, ...]) -> Iterator[Exhibit]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _exhibits(block.blocks)
        elif isinstance(block, Exhibit):
            yield block


def _include(exhibit: Exhibit) -> str:
    files = {path.rpartition(".")[2]: path for path in exhibit.files}
    if not isinstance(exhibit.block, Plot):
        return rf"\input{{{files['tex']}}}" + "\n\\clearpage"
    drawn = rf"\input{{{files['pgf']}}}" if "pgf" in files else rf"\includegraphics{{{files['pdf']}}}"
    caption = rf"\caption{{{latex(exhibit.block.caption)}}}"
    return "\n".join(
        [r"\begin{figure}", r"\centering", drawn, caption, rf"\label{{fig:{exhibit.name}}}", r"\end{figure}"]
    )
