"""The one look of every figure: sizes, colours that colour-blind readers tell apart, markers, and byte-stable files.

Fonts are DejaVu, which matplotlib ships, so that a figure has the same bytes on every machine; PDF embeds them as
TrueType (type 42, which venues accept), SVG files hold glyphs as paths, SVG on a page text.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.hover import Drawing, titles
from pdstudy.analysis.figures.medium import current_medium
from pdstudy.core.format import si
from pdstudy.core.streams import printable

COLUMN = 3.25
"""Width of a figure that fits one column, in inches."""


PAGE = 6.75
"""Width of a figure across the page, in inches."""


STYLE = Path(__file__).with_name("pdstudy.mplstyle")


@dataclass(frozen=True)
class Look:
    """How one series is drawn: colour, marker and dash all differ, so that it also reads in black and white."""

    colour: str
    marker: str
    dash: str | tuple[int, tuple[float, ...]]


# Okabe & Ito's set, yellow left out (too light on white), ordered so that neighbours differ in lightness too.
LOOKS = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", (0, (5, 1.5))),
    Look("#009E73", "^", (0, (1, 1))),
    Look("#000000", "D", (0, (6, 1.5, 1, 1.5))),
    Look("#CC79A7", "v", (0, (3, 1, 1, 1, 1, 1))),
    Look("#56B4E9", "P", (0, (8, 2))),
    Look("#E69F00", "X", (0, (2, 1))),
)


BASELINE = Look("#555555", "d", (0, (4, 2)))


def look(index: int) -> Look:
    """The look of the series with this index.

    Beyond the seventh series colours repeat with the next marker and dash, so that no two of the first 49 are alike.
    """
    turn, place = divmod(index, len(LOOKS))
    shifted = LOOKS[(place + turn) % len(LOOKS)]
    return Look(LOOKS[place].colour, shifted.marker, shifted.dash)


def plain(text: object) -> str:
    """A label that matplotlib shows as it is written: a dollar sign in a name of a run doesn't start mathematics, and
    control characters, which fonts and XML lack, are escapes."""
    return printable(str(text), keep="\n").replace("$", r"\$")


@contextmanager
def styled() -> Iterator[None]:
    """Inside this context matplotlib has the style of the project, with letters for the current medium, and outside
    what the user had."""
    medium = current_medium()
    settings: Any = matplotlib.rc_params_from_file(STYLE, use_default_template=False)
    settings.update({name: medium.scale * settings[name] for name in _SIZES})
    settings["pgf.texsystem"], settings["pgf.rcfonts"] = "pdflatex", False  # letters are the document's
    settings["svg.fonttype"] = "none" if medium.screen else "path"
    with matplotlib.style.context(settings):
        yield


_SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize",
          "legend.title_fontsize")  # fmt: skip
"""Settings of the style that are sizes of letters, in points."""


def panels(
    width: float = COLUMN, height: float = 2.4, rows: int = 1, columns: int = 1, *, wrap: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches and its axes, row by row; call inside `styled()`.

    The size is that on paper: the current medium may have another width and larger letters. `wrap`: a row of panels
    that it has no room for is broken into several.
    """
    medium = current_medium()
    count, beside = rows * columns, medium.fit(columns) if wrap and rows == 1 else columns
    lines = -(-count // beside)
    # Not through pyplot, which would keep every figure in memory until it is closed.
    figure = Drawing(figsize=(medium.width or width, medium.scale * height * lines / rows))
    axes = list(figure.subplots(lines, beside, squeeze=False).ravel())
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def counts_axis(axes: Axes, which: str = "x", *, logarithmic: bool = True) -> None:
    """Label an axis as 100M or 1B; a logarithmic one of less than a decade and a half is labelled at 1, 2 and 5."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not logarithmic:
        axis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
        return
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    low, high = sorted(axis.get_view_interval())
    narrow = high / low < 30
    # Under a decade and a half there may be one power of ten or none, so the labels go to 1, 2, 5.
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    axis.set_minor_formatter(NullFormatter())


def svg_text(figure: Figure) -> str:
    """The figure as SVG, the same text every time: no date, no version, ids from a fixed salt. On a screen its points
    say what they are."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    end = text.rindex("</svg>")
    return text[:end] + titles(figure) + text[end:] if current_medium().screen else text


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes every time."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


FIGURE_FORMATS = ("pdf", "svg", "png", "pgf")
"""Kinds of files of a figure; PGF is for LaTeX, whose fonts it takes, and needs LaTeX to be made."""


def savefig(figure: Figure, stem: Path | str, formats: Sequence[str] = ("pdf", "svg", "png")) -> list[Path]:
    """Write `stem`.pdf and so on and return their paths; equal figures give equal bytes."""
    base = Path(stem)
    base.parent.mkdir(parents=True, exist_ok=True)
    # Not with_suffix: a stem such as "top-0.95" would lose its end.
    files = [base.parent / f"{base.name}.{kind}" for kind in formats]
    for kind, file in zip(formats, files, strict=True):
        if kind == "svg":
            file.write_text(svg_text(figure), encoding="utf-8")
        elif kind == "png":
            file.write_bytes(png_bytes(figure))
        elif kind == "pdf":
            with styled():
                figure.savefig(file, metadata={"CreationDate": None, "Producer": None, "Creator": None})
        elif shutil.which("pdflatex") is None:
            raise AnalysisError("figures as PGF are measured by pdflatex, which is not installed; take pdf")
        else:
            with styled():
                figure.savefig(file)
    return files
