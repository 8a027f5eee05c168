"""One self-contained HTML page: figures inline as SVG, tables, a banner, where everything came from.

No script, no font and no picture is loaded from anywhere; every text is escaped; equal input gives equal bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.tables.table import Table

CSS = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Listing:
    """Text shown as it is, in a fixed-width font (a summary of a fit, a command)."""

    text: str


@dataclass(frozen=True)
class Link:
    """A paragraph that leads to another page of the report; `address` is relative to this one. `about` follows it."""

    address: str
    text: str
    about: str = ""


Block = Plot | Table | Text | Listing | Link


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page of a report.

    `banner` is shown above everything (for example "3 of 12 runs are not done: partial results"); `provenance` is the
    footer (commit, versions, data, number of runs used and left out), in the order given. Nothing else is added: a
    date, if wanted, is the caller's, so that equal results give an equal page.
    """

    title: str
    sections: tuple[Section, ...]
    banner: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The page as text."""
        figures = 0
        parts: list[str] = []
        for number, section in enumerate(self.sections, 1):
            parts.append(f'<section id="s{number}">\n<h2>{html.escape(section.title)}</h2>')
            for block in section.blocks:
                if isinstance(block, Plot):
                    figures += 1
                    parts.append(_figure(block, figures))
                elif isinstance(block, Table):
                    parts.append(f'<div class="scroll">{block.to_html()}</div>')
                elif isinstance(block, Listing):
                    parts.append(f"<pre>{html.escape(block.text)}</pre>")
                elif isinstance(block, Link):
                    address = html.escape(block.address, quote=True)
                    about = f"<br>{html.escape(block.about)}" if block.about else ""
                    parts.append(f'<p><a href="{address}">{html.escape(block.text)}</a>{about}</p>')
                else:
                    parts.append(f"<p>{html.escape(block.text)}</p>")
            parts.append("</section>")
        links = "".join(f'<li><a href="#s{i}">{html.escape(s.title)}</a></li>' for i, s in enumerate(self.sections, 1))
        rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in self.provenance.items())
        banner = f'<p class="banner" role="status">{html.escape(self.banner)}</p>' if self.banner else ""
        return "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en">',
                '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{html.escape(self.title)}</title>",
                f"<style>\n{CSS.read_text(encoding='utf-8')}</style></head>",
                "<body>",
                f"<h1>{html.escape(self.title)}</h1>",
                *([banner] if banner else []),
                *([f"<nav><ol>{links}</ol></nav>"] if len(self.sections) > 1 else []),
                *parts,
                *([f"<footer><h2>Provenance</h2><dl>{rows}</dl></footer>"] if rows else []),
                "</body></html>",
                "",
            ]
        )

    def save(self, path: Path | str) -> Path:
        """Write the page; return its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.render(), encoding="utf-8")
        return target


def _figure(plot: Plot, number: int) -> str:
    """A plot as inline SVG; its ids get a prefix, since two figures on one page would share them otherwise."""
    svg = plot.svg()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    prefix = f"f{number}-"
    # A hundredth of a point is finer than any screen; matplotlib writes six decimals.
    svg = re.sub(r'\bd="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r'(\sid=")', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"(url\(#)", rf"\g<1>{prefix}", svg)
    svg = re.sub(r'((?:xlink:)?href="#)', rf"\g<1>{prefix}", svg)
    label = html.escape(plot.caption, quote=True)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return f"<figure>\n{svg.strip()}\n<figcaption>Figure {number}. {html.escape(plot.caption)}</figcaption>\n</figure>"
