"""One self-contained HTML page: figures inline as SVG, tables, a banner, where everything came from.

No script, no font and no picture is loaded from anywhere; every text is escaped; equal input gives equal bytes. A
figure is there twice, drawn for a wide screen and for a phone; numbers and LaTeX of figures and tables are links to
themselves, files beside the page are linked where they were written.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pdstudy.analysis.figures.medium import PHONE, SCREEN
from pdstudy.analysis.figures.plot import Plot
from pdstudy.analysis.tables.table import Table
from pdstudy.core.files import write_bytes

CSS = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A sentence that answers the page's question; `lead`, the metric that it is by, stands before it."""

    lead: str
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


@dataclass(frozen=True)
class Exhibit:
    """A figure or table with its name, and the files beside the page that hold it (addresses relative to the page)."""

    block: Plot | Table
    name: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when their title is opened: what few readers want."""

    title: str
    blocks: tuple[Block, ...]


Block = Plot | Table | Text | Answer | Listing | Link | Exhibit | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page of a report.

    `banner` is shown above everything (for example "3 of 12 runs are not done: partial results"); `provenance` is the
    footer (commit, versions, data, number of runs used and left out), in the order given; `up` leads to the page above.
    Nothing else is added: a date, if wanted, is the caller's, so that equal results give an equal page.
    """

    title: str
    sections: tuple[Section, ...]
    banner: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    up: Link | None = None

    def render(self) -> str:
        """The page as text."""
        made = _Writer()
        parts: list[str] = []
        for number, section in enumerate(self.sections, 1):
            parts.append(f'<section id="s{number}">\n<h2>{html.escape(section.title)}</h2>')
            parts += map(made.write, section.blocks)
            parts.append("</section>")
        links = "".join(f'<li><a href="#s{i}">{html.escape(s.title)}</a></li>' for i, s in enumerate(self.sections, 1))
        rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in self.provenance.items())
        banner = f'<p class="banner" role="status">{html.escape(self.banner)}</p>' if self.banner else ""
        up = f'<p class="up">{_anchor(self.up.address, f"← {self.up.text}")}</p>' if self.up else ""
        return "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en">',
                '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{html.escape(self.title)}</title>",
                f"<style>\n{CSS.read_text(encoding='utf-8')}</style></head>",
                "<body>",
                *([up] if up else []),
                f"<h1>{html.escape(self.title)}</h1>",
                *([banner] if banner else []),
                *([f"<nav><ol>{links}</ol></nav>"] if len(self.sections) > 2 else []),
                *parts,
                *([f"<footer><h2>Provenance</h2><dl>{rows}</dl></footer>"] if rows else []),
                "</body></html>",
                "",
            ]
        )

    def close(self) -> None:
        """Free the figures' artists now."""
        for plot in (block for section in self.sections for block in unfold(section.blocks)):
            if isinstance(plot, Plot):
                plot.close()

    def save(self, path: Path | str) -> Path:
        """Write the page; return its path."""
        write_bytes(Path(path), self.render().encode())
        return Path(path)


def unfold(blocks: Iterable[Block]) -> Iterator[Block]:
    """All blocks, those that are folded or exhibited too, in the order of the page."""
    for block in blocks:
        if isinstance(block, Folded):
            yield from unfold(block.blocks)
        else:
            yield block.block if isinstance(block, Exhibit) else block


class _Writer:
    """Writes blocks as HTML and counts figures."""

    def __init__(self) -> None:
        self.figures = 0

    def write(self, block: Block) -> str:
        if isinstance(block, Exhibit):
            shown = self.write(block.block)
            end = "</figure>" if isinstance(block.block, Plot) else "</div>"
            return shown.removesuffix(end) + f'<p class="files">{" · ".join(_file_links(block))}</p>\n{end}'
        if isinstance(block, Plot):
            self.figures += 1
            return _figure(block, self.figures)
        if isinstance(block, Table):
            region = f'tabindex="0" role="region" aria-label="Table by {html.escape(block.columns[0], quote=True)}"'
            table = f'<div class="scroll" {region}>{block.to_html(captioned=False)}</div>'
            return f'<div class="table">{table}\n<p class="caption">{html.escape(block.note)}</p>\n</div>'
        if isinstance(block, Listing):
            return f"<pre>{html.escape(block.text)}</pre>"
        if isinstance(block, Link):
            about = f"<br>{html.escape(block.about)}" if block.about else ""
            return f"<p>{_anchor(block.address, block.text)}{about}</p>"
        if isinstance(block, Folded):
            inside = "\n".join(map(self.write, block.blocks))
            return f"<details><summary>{html.escape(block.title)}</summary>\n{inside}\n</details>"
        if isinstance(block, Answer):
            return f'<p class="answer"><b>{html.escape(block.lead)}</b> {html.escape(block.text)}</p>'
        return f"<p>{html.escape(block.text)}</p>"


def _anchor(address: str, text: str) -> str:
    return f'<a href="{html.escape(address, quote=True)}">{html.escape(text)}</a>'


def _file_links(exhibit: Exhibit) -> Iterator[str]:
    """Links to the files of a figure or table; what it is made of is a link to itself, a file or none."""
    for path in exhibit.files:
        yield _anchor(path, path.rpartition(".")[2].upper().replace("TEX", "LaTeX").replace("MD", "Markdown"))
    if isinstance(exhibit.block, Plot):
        within = {"csv": exhibit.block.data.to_csv(index=False, lineterminator="\n")}
    else:
        within = {"csv": exhibit.block.to_csv(), "tex": exhibit.block.to_latex()}
    for kind, text in within.items():
        if len(text) <= MOST_LETTERS and not any(path.endswith(f".{kind}") for path in exhibit.files):
            address = f"data:text/plain;charset=utf-8,{quote(text, safe=',;:/()+=@!*$?~[]|')}"
            name = html.escape(f"{exhibit.name}.{kind}", quote=True)
            yield f'<a download="{name}" href="{html.escape(address, quote=True)}">{_KINDS[kind]}</a>'


_KINDS = {"csv": "CSV", "tex": "LaTeX"}

MOST_LETTERS = 100_000
"""Longest text that is a link to itself: a page has to stay small."""

_COLOURS = {"#000000": "currentColor", "#ffffff": "var(--page)", "#e3e3e3": "var(--line)", "#555555": "var(--grey)"}
"""Colours of figures that follow the reader's choice of a light or a dark page."""


def _figure(plot: Plot, number: int) -> str:
    """A plot as inline SVG, for a wide screen and a narrow one."""
    label = html.escape(plot.seen or plot.caption, quote=True)
    media = {"wide": SCREEN, "narrow": PHONE} if plot.redraw else {"any": SCREEN}
    drawn = []
    for name, medium in media.items():
        svg = _inline(plot.svg(medium), f"f{number}{name[0]}-")
        plate = " plate" if needs_light(svg) else ""
        drawn.append(
            f'<div class="{name}{plate}">\n'
            + svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
            + "\n</div>"
        )
    caption = f"<figcaption>Figure {number}. {html.escape(plot.caption)}</figcaption>"
    return f"<figure>\n{chr(10).join(drawn)}\n{caption}\n</figure>"


def needs_light(svg: str) -> bool:
    """Whether a figure has a bitmap, whose white stays white, or colours that a dark page would swallow: those of a
    colour map, whose order would be lost if they were turned."""
    return "<image" in svg or any(
        _contrast(colour) < LEAST_CONTRAST for colour in set(re.findall(r"#[0-9a-f]{6}", svg))
    )


def _contrast(colour: str) -> float:
    """Contrast of a colour with the dark page (WCAG 2.1: 1 is none, 21 that of black and white)."""
    light, dark = sorted((_luminance(colour), _luminance(DARK_PAGE)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


DARK_PAGE = "#16181b"
"""Background of the dark page (page.css)."""

LEAST_CONTRAST = 3.0
"""Of a mark or a line with its page (WCAG 2.1, 1.4.11)."""


def _inline(svg: str, prefix: str) -> str:
    """SVG for a page; its ids get a prefix, since two figures on one page would share them otherwise."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # A hundredth of a point is finer than any screen; matplotlib writes six decimals.
    svg = re.sub(r'\b(d|x|y|cx|cy|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r'(\sid=")', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"(url\(#)", rf"\g<1>{prefix}", svg)
    svg = re.sub(r'((?:xlink:)?href="#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"(?<=: )#(?:000000|ffffff|e3e3e3|555555)\b", lambda found: _COLOURS[found[0]], svg)
    return svg.strip()
