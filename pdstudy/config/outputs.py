"""What a study wants to see: light declarations that `pdstudy.analysis.report.study_page` renders. No plotting here."""

from __future__ import annotations

from typing import Literal

from pdstudy.core.identity import declared, neutral

Split = Literal["validation", "test"]


@declared
class Curves:
    """Held-out loss against training tokens: a panel per level of `panels`, a line per level of `lines`, mean and
    spread over seeds."""

    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Learning curves"

    def axes(self) -> dict[str, str]:
        return _named(lines=self.lines, panels=self.panels)


@declared
class SizeLaw:
    """Final loss against student size, one line per level of `lines`, with a fitted power law and its band where the
    data allow one (else the reason)."""

    lines: str
    split: Split = "test"
    size: Literal["non_embedding", "total"] = "non_embedding"
    title: str = "Loss against student size"

    def axes(self) -> dict[str, str]:
        return {"lines": self.lines}


@declared
class Compare:
    """Every arm against the baseline, paired by seed, with intervals: a table and a figure.

    `against` names another arm to compare with than the study's baseline, by its label where that has its own.
    `metric` "recalibrated" is the loss after one temperature on the student's logits, which an objective that bends its
    target asks for; "accuracy" is the share of tokens whose most probable id is right.
    """

    split: Split = "test"
    metric: Literal["loss", "recalibrated", "accuracy"] = "loss"
    title: str = "Differences from the baseline"
    against: str | None = neutral(None)

    def axes(self) -> dict[str, str]:
        return {}


@declared
class Sweep:
    """Final loss against a numeric axis (a learning rate, say), a panel per level of `panels`, a line per level of
    `lines`, with the best level of each."""

    x: str
    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Sweep"

    def axes(self) -> dict[str, str]:
        return _named(x=self.x, lines=self.lines, panels=self.panels)


@declared
class LossByTokens:
    """Final loss against the tokens of a run, for budgets of their own, a panel per level of `panels`, a line per level
    of `lines`."""

    lines: str
    panels: str | None = None
    split: Split = "test"
    title: str = "Loss against tokens"

    def axes(self) -> dict[str, str]:
        return _named(lines=self.lines, panels=self.panels)


@declared
class Cost:
    """Planned against actual: FLOPs and seconds of every stage."""

    title: str = "Cost, planned and actual"

    def axes(self) -> dict[str, str]:
        return {}


@declared
class BesidePaper:
    """Means over seeds beside a table of Peng et al. 2024, and that table; `pairs` are (label on `axis`, its row)."""

    axis: str
    table: str
    pairs: tuple[tuple[str, str], ...]
    title: str = "Beside the paper"

    def axes(self) -> dict[str, str]:
        return {"axis": self.axis}


@declared
class PaperTable:
    """A table of Peng et al. 2024 as printed, beneath what our models answered to its tasks, where they are asked.

    `pairs` are (an arm's labels in the order of the axes with blanks between, its row); an arm that is called as a row
    needs none. On the way, a comma-grouped number of steps follows the labels ("1.9B KD 10,000").
    """

    table: str
    pairs: tuple[tuple[str, str], ...] = ()
    title: str = "The paper's table"

    def axes(self) -> dict[str, str]:
        return {}


@declared
class GainAndKept:
    """Gain over the baseline against p or k, and the entries kept per token (the paper's figures 2 and 3); the latter
    from a `Probe` of the study."""

    x: str
    split: Split = "test"
    title: str = "Gain and kept logits"

    def axes(self) -> dict[str, str]:
        return {"x": self.x}


@declared
class GainBySize:
    """Gain over the baseline against student size, a line per teacher (the paper's figure 4), or per level of another
    axis that the baseline is on."""

    split: Split = "test"
    title: str = "Gain against student size"

    def axes(self) -> dict[str, str]:
        return {}


Output = Curves | SizeLaw | Compare | Sweep | LossByTokens | Cost | BesidePaper | PaperTable | GainAndKept | GainBySize


def _named(**axes: str | None) -> dict[str, str]:
    return {field: axis for field, axis in axes.items() if axis is not None}
