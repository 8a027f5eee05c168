"""Tables that go into a paper: one grid of cells, written as CSV, Markdown, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "∞": r"$\infty$",
    "†": r"$^\dagger$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    **{c: f"${n}$" for c, n in zip("αβγδεηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ≤≥≈≠", (
        r"\alpha", r"\beta", r"\gamma", r"\delta", r"\varepsilon", r"\eta", r"\theta", r"\kappa", r"\lambda", r"\mu",
        r"\nu", r"\xi", r"\pi", r"\rho", r"\sigma", r"\tau", r"\varphi", r"\chi", r"\psi", r"\omega", r"\Gamma",
        r"\Delta", r"\Theta", r"\Lambda", r"\Xi", r"\Pi", r"\Sigma", r"\Phi", r"\Psi", r"\Omega", r"\le", r"\ge",
        r"\approx", r"\ne"), strict=True)},
}  # fmt: skip


TABLE_FORMATS = ("csv", "md", "tex")
"""Kinds of files of a table."""

LONG = 24
"""Letters beyond which the text of a cell is broken into lines on a page."""


def latex(text: str) -> str:
    """Text that LaTeX sets as it is written; line breaks are spaces, since a blank line would end a paragraph."""
    return "".join(_LATEX.get(letter, letter) for letter in re.sub(r"\s*\n\s*", " ", text))


def _latex_row(cells: Sequence[str]) -> str:
    """A row of a tabular. `\\\\` and the rules before it would take a leading `[` or `*` as their argument."""
    row = " & ".join(cells)
    return ("{}" if row.lstrip().startswith(("[", "*")) else "") + row + r" \\"


def markdown(text: str) -> str:
    """Text that a Markdown table shows as it is written: no cell border, emphasis, code, link or tag in it."""
    escaped = "".join("\\" + c if c in "\\`*_[]|<>" else c for c in text)
    return escaped.replace("\n", " ")


def _exact(value: float) -> str:
    """The shortest text that reads back as this number."""
    return str(value) if isinstance(value, int) else repr(float(value))


@dataclass(frozen=True)
class TableCell:
    """One cell: what is shown, the number behind it (CSV has it in full), and its marks.

    `best` is set bold. `noise` adds a dagger: the difference to the reference is within noise. `link` is the address of
    a page that the text leads to.
    """

    text: str
    number: float | None = None
    best: bool = False
    noise: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a report: `columns` are headings, `rows` hold one `TableCell` or plain string per column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell | str, ...], ...]
    caption: str
    label: str = ""
    """LaTeX label; where it is empty, `save` makes one of the file's name, so that no two files share one."""
    heads: tuple[str, ...] = ()
    """Headings that readers see where they are longer than the columns' names in CSV; empty: those names."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns {self.columns}: {row}")
        if self.heads and len(self.heads) != len(self.columns):
            raise ValueError(f"{len(self.heads)} headings {self.heads} over {len(self.columns)} columns")

    def _cells(self) -> list[list[TableCell]]:
        return [[cell if isinstance(cell, TableCell) else TableCell(cell) for cell in row] for row in self.rows]

    def _numeric(self) -> list[bool]:
        """Which columns hold numbers, and so are set to the right."""
        return [all(row[i].number is not None for row in self._cells()) for i in range(len(self.columns))]

    @property
    def shown_heads(self) -> tuple[str, ...]:
        return self.heads or self.columns

    @property
    def note(self) -> str:
        """The caption with the meaning of the marks that occur."""
        cells = [cell for row in self._cells() for cell in row]
        marks = ["Bold: best."] if any(c.best for c in cells) else []
        marks += ["†: within noise."] if any(c.noise for c in cells) else []
        return " ".join([self.caption, *marks])

    def to_csv(self) -> str:
        """Numbers at full precision and texts where there is no number."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self._cells():
            writer.writerow([cell.text if cell.number is None else _exact(cell.number) for cell in row])
        return out.getvalue()

    def to_markdown(self) -> str:
        """A pipe table with the caption below it."""

        def shown(cell: TableCell) -> str:
            text = markdown(cell.text)
            text = f"**{text}**" if cell.best else text
            return text + "†" if cell.noise else text

        lines = [f"| {' | '.join(markdown(c) for c in self.shown_heads)} |", f"|{'---|' * len(self.columns)}"]
        lines += [f"| {' | '.join(shown(cell) for cell in row)} |" for row in self._cells()]
        return "\n".join([*lines, "", markdown(self.note), ""])

    def to_latex(self) -> str:
        """A `table` environment with booktabs rules; needs `\\usepackage{booktabs}`."""

        def shown(cell: TableCell) -> str:
            text = latex(cell.text)
            text = rf"\textbf{{{text}}}" if cell.best else text
            return text + r"$^\dagger$" if cell.noise else text

        body = [_latex_row([shown(cell) for cell in row]) for row in self._cells()]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex(self.note)}}}",
                *([rf"\label{{{self.label}}}"] if self.label else []),
                rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in self._numeric())}}}",
                r"\toprule",
                _latex_row([latex(c) for c in self.shown_heads]),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def to_html(self, *, captioned: bool = True) -> str:
        """A `<table>` with its caption; everything escaped."""

        def shown(cell: TableCell) -> str:
            text = html.escape(cell.text)
            text = f"<b>{text}</b>" if cell.best else text
            text = f'<a href="{html.escape(cell.link, quote=True)}">{text}</a>' if cell.link else text
            text = text + "<sup>†</sup>" if cell.noise else text
            if cell.number is not None:
                return f'<td class="n">{text}</td>'
            return f'<td class="long">{text}</td>' if len(cell.text) > LONG else f"<td>{text}</td>"

        kinds = [' class="n"' if n else "" for n in self._numeric()]
        head = "".join(f'<th scope="col"{k}>{html.escape(c)}</th>' for k, c in zip(kinds, self.shown_heads))
        body = "\n".join(f"<tr>{''.join(shown(cell) for cell in row)}</tr>" for row in self._cells())
        caption = f"<caption>{html.escape(self.note)}</caption>\n" if captioned else ""
        return f"<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        return self.to_html()

    def save(self, stem: Path | str, formats: Sequence[str] = TABLE_FORMATS) -> list[Path]:
        """Write `stem`.csv, .md and .tex, or those of the formats; return the paths."""
        base = Path(stem)
        named = self if self.label else replace(self, label="tab:" + re.sub(r"[^A-Za-z0-9.:-]+", "-", base.name))
        written: list[Path] = []
        base.parent.mkdir(parents=True, exist_ok=True)
        for kind, text in (("csv", self.to_csv()), ("md", self.to_markdown()), ("tex", named.to_latex())):
            if kind not in formats:
                continue
            path = base.parent / f"{base.name}.{kind}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
        return written
