"""Figures and tables of a study's report, drawn by `pdstudy.analysis.report`. Nothing is plotted here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pdstudy.config.declared_laws import LawOutput, Split
from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem


@declared
class Curves:
    """Held-out loss against training tokens, mean and spread over seeds.

    A panel per level of the axis `panels`, a line per level of `lines`.
    """

    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Learning curves"

    def axes(self) -> dict[str, str]:
        return _named(lines=self.lines, panels=self.panels)


@declared
class SizeLaw:
    """Final loss against student size (parameters), a line per level of `lines`.

    With a fitted power law and its band where the data allow one, else with the reason why not.
    """

    lines: str
    split: Split = "test"
    size: Literal["non_embedding", "total"] = "non_embedding"
    title: str = "Loss against student size"

    def axes(self) -> dict[str, str]:
        return {"lines": self.lines}


@declared
class Compare:
    """Every arm against the baseline, paired by seed, with intervals: a table and a figure. The page's table of
    verdicts has all metrics.

    `against` names another arm to compare with than the study's baseline, by its label where that has its own.
    `metric` "recalibrated" is the loss after one temperature on the student's logits, needed where an objective bends
    its target; "accuracy" is the share of tokens whose most probable id is right, "accuracy_top5" that of tokens whose
    right id is among the five most probable; "ece" is the expected calibration error.
    """

    split: Split = "test"
    metric: Literal["loss", "recalibrated", "accuracy", "accuracy_top5", "ece"] = "loss"
    title: str = "Differences from the baseline"
    against: str | None = neutral(None)

    def axes(self) -> dict[str, str]:
        return {}


@declared
class Sweep:
    """Final loss against a numeric axis, such as a learning rate, with the best level of each line.

    A panel per level of the axis `panels`, a line per level of `lines`.
    """

    x: str
    lines: str
    panels: str | None = None
    split: Split = "validation"
    title: str = "Sweep"

    def axes(self) -> dict[str, str]:
        return _named(x=self.x, lines=self.lines, panels=self.panels)


@declared
class LossByTokens:
    """Final loss against the token budget of a run, of runs that each end at their own.

    A panel per level of the axis `panels`, a line per level of `lines`.
    """

    lines: str
    panels: str | None = None
    split: Split = "test"
    title: str = "Loss against tokens"

    def axes(self) -> dict[str, str]:
        return _named(lines=self.lines, panels=self.panels)


@declared
class Cost:
    """Cost of every stage, planned and actual: FLOPs and seconds."""

    title: str = "Cost, planned and actual"

    def axes(self) -> dict[str, str]:
        return {}


@declared
class BesidePaper:
    """A table of Peng et al. 2024 with our means over seeds beside it; `pairs` are (label on `axis`, its row)."""

    axis: str
    table: str
    pairs: tuple[tuple[str, str], ...]
    title: str = "Beside the paper"

    def axes(self) -> dict[str, str]:
        return {"axis": self.axis}


@declared
class PaperTable:
    """A table of Peng et al. 2024 as printed, below the scores of our models on its tasks, where they were evaluated.

    `pairs` are (an arm's labels in the order of the axes, with blanks between; its row). An arm that is called as a row
    needs none. For a model before its end the step follows the labels ("1.9B KD 10,000").
    """

    table: str
    pairs: tuple[tuple[str, str], ...] = ()
    title: str = "The paper's table"

    def axes(self) -> dict[str, str]:
        return {}


@declared
class GainAndKept:
    """Gain over the baseline against p or k, with the entries kept per token, which a `Probe` of the study measures.

    Figures 2 and 3 of Peng et al. 2024.
    """

    x: str
    split: Split = "test"
    title: str = "Gain and kept logits"

    def axes(self) -> dict[str, str]:
        return {"x": self.x}


@declared
class GainBySize:
    """Gain over the baseline against student size, a line per teacher, or per level of another axis of the baseline.

    Figure 4 of Peng et al. 2024.
    """

    split: Split = "test"
    title: str = "Gain against student size"

    def axes(self) -> dict[str, str]:
        return {}


@declared
class GainDifferences:
    """Whether the gain over the baseline differs between levels of `axis`: each level's gain against the first one's,
    on every metric, with intervals; over student sizes also the trend per doubling.

    Such a claim takes an interval of its own: a gain that is significant at one size and not at another shows nothing.
    `against` names another arm than the study's baseline, as in `Compare`.
    """

    axis: str
    split: Split = "test"
    title: str = "Differences of gains"
    against: str | None = None

    def axes(self) -> dict[str, str]:
        return {"axis": self.axis}


@declared
class NoiseFloor:
    """Differences that one sees between two equal runs by student seed, teacher seed and text, on every metric, and the
    seeds that differences of the sizes `effects` (nats per token of loss) need."""

    effects: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05, 0.1)
    split: Split = "test"
    title: str = "Noise floor"

    def axes(self) -> dict[str, str]:
        return {}

    def check(self) -> Iterator[Problem]:
        if not self.effects or min(self.effects) <= 0:
            yield Problem("effects", self.effects, "one or more numbers above 0")


Output = (
    Curves
    | SizeLaw
    | Compare
    | Sweep
    | LossByTokens
    | Cost
    | BesidePaper
    | PaperTable
    | GainAndKept
    | GainBySize
    | GainDifferences
    | NoiseFloor
    | LawOutput
)


def _named(**axes: str | None) -> dict[str, str]:
    return {field: axis for field, axis in axes.items() if axis is not None}
