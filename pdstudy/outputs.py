"""What a study wants to see: light declarations that `analysis.report` renders. No plotting here."""

from __future__ import annotations

from typing import Literal

from pdstudy.normal import declared

Split = Literal["validation", "test"]


@declared
class Curves:
    """Held-out loss against training tokens: a panel per level of `panels`, a line per level of `lines`, mean and
    spread over seeds."""

    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Learning curves"

    def axes(self) -> tuple[str, ...]:
        return tuple(a for a in (self.lines, self.panels) if a is not None)


@declared
class SizeLaw:
    """Final loss against student size, one line per level of `lines`, with a fitted power law and its band where the
    data allow one (else the reason)."""

    lines: str
    split: Split = "test"
    size: Literal["non_embedding", "total"] = "non_embedding"
    title: str = "Loss against student size"

    def axes(self) -> tuple[str, ...]:
        return (self.lines,)


@declared
class Compare:
    """Every arm against the baseline, paired by seed, with intervals: a table and a figure."""

    split: Split = "test"
    title: str = "Differences from the baseline"

    def axes(self) -> tuple[str, ...]:
        return ()


@declared
class Sweep:
    """Final loss against a numeric axis (a learning rate, say), a panel per level of `panels`, a line per level of
    `lines`, with the best level of each."""

    x: str
    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Sweep"

    def axes(self) -> tuple[str, ...]:
        return tuple(a for a in (self.x, self.lines, self.panels) if a is not None)


@declared
class Cost:
    """Planned against actual: FLOPs and seconds of every stage."""

    title: str = "Cost, planned and actual"

    def axes(self) -> tuple[str, ...]:
        return ()


Output = Curves | SizeLaw | Compare | Sweep | Cost
