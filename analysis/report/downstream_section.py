"""The report's part on downstream tasks: accuracies and bits per byte by arm, and differences over items and seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pdstudy.analysis.compare.comparison import Comparison
from pdstudy.analysis.compare.family import holm
from pdstudy.analysis.compare.items import ItemEffect, accuracy_effect, bits_effect, mean_effect
from pdstudy.analysis.compare.seeds import compare
from pdstudy.analysis.data.study_record import Record, axis_column, axis_title
from pdstudy.analysis.data.task_answers import Items, load_answers, load_items
from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.figures.grids import line_grid
from pdstudy.analysis.report.arm_comparison import ArmComparisons
from pdstudy.analysis.report.page import Block, Text
from pdstudy.analysis.tables.builders import comparison_table, fixed
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.format import si

MEAN = "average"


@dataclass(frozen=True)
class Measure:
    """A score of a task: accuracy in per cent, or bits per byte of the gold answer."""

    column: str
    name: str
    short: str
    factor: float
    places: int
    lower_is_better: bool
    effect: Callable[[Sequence[Items], Sequence[Items]], ItemEffect]


ACCURACY = Measure("value", "accuracy (%)", "accuracy (%)", 100, 1, False, accuracy_effect)


BITS = Measure("bits_per_byte", "bits per byte of the gold answer", "bits per byte", 1, 3, True, bits_effect)


def task_blocks(workspace: Path, record: Record, comparisons: ArmComparisons | None = None) -> list[Block]:
    """Results of a study's downstream tasks and how many models are still to be evaluated; empty without such tasks.
    `comparisons` are the page's, which have the first suite's verdicts over seeds."""
    blocks: list[Block] = []
    for number, suite in enumerate(record.get("downstream", ())):
        answers = load_answers(workspace, record, suite=number)
        wanted = {a["key"] for cell in record["cells"] for a in cell["downstream"] if a["suite"] == number}
        found = set(answers["key"])
        if len(found) < len(wanted):
            blocks.append(Text(f"{len(found)} of {len(wanted)} models have been evaluated so far."))
        if found:
            page = comparisons if number == 0 else None
            blocks += Suite(workspace, record, answers, suite.get("limit"), page).blocks()
    return blocks


class Suite:
    """Results of one study's models on one list of tasks, from the table of `load_answers`."""

    def __init__(
        self,
        workspace: Path,
        record: Record,
        answers: pd.DataFrame,
        limit: int | None,
        comparisons: ArmComparisons | None = None,
    ) -> None:
        axes = [axis_column(a) for a in record["axes"]]
        baseline = {axis_column(a): label for a, label in record["baseline"].items()}
        self.axes = axes
        self.within = [a for a in axes if a not in baseline]
        self.named = "/".join(map(axis_title, baseline))
        self.reference = "/".join(baseline.values())
        self.answers = answers.assign(
            name=_join_labels(answers, axes, " "),
            arm=_join_labels(answers, list(baseline), "/"),
            stratum=_join_labels(answers, self.within, " "),
        )
        self.final = self.answers[self.answers["final"]]
        self.tasks = list(dict.fromkeys(answers["task"]))
        self.limit = limit
        self._page = comparisons
        self._items = functools.cache(functools.partial(load_items, workspace))

    def blocks(self) -> list[Block]:
        measures = [m for m in (ACCURACY, BITS) if self.answers[m.column].notna().any()]
        blocks: list[Block] = [self.values(measure) for measure in measures]
        for measure in measures if self.reference else ():
            for make in (self.over_items, self.over_seeds):
                try:
                    blocks.append(make(measure))
                except AnalysisError as error:
                    blocks.append(Text(f"Not shown: {error}."))
        on_the_way = self.answers["tokens"].nunique() > 1 and not self.answers["final"].all()
        return [*blocks, self.curves()] if on_the_way else blocks

    def means(self, measure: Measure) -> pd.DataFrame:
        """Rows by (name of the arm, tokens), columns the tasks and their mean, of all seeds, in the measure's unit."""
        wide = self.answers.pivot_table(
            index=["name", "tokens"], columns="task", values=measure.column, sort=False, dropna=False
        )
        wide = wide.dropna(how="all")[[t for t in self.tasks if wide[t].notna().any()]] * measure.factor
        return wide.assign(**{MEAN: wide.mean(axis=1, skipna=False)})

    def values(self, measure: Measure) -> Table:
        """As the paper has them: a row per arm (and moment of training), a column per task, their mean, its change."""
        wide = self.means(measure)
        seeds = self.answers.groupby(["name", "tokens"], sort=False)["seed"].nunique()
        moments = wide.index.get_level_values("tokens").nunique() > 1
        best = wide.min() if measure.lower_is_better else wide.max()
        chance = [100 * self._chance(task) for task in wide.columns[:-1]] if measure is ACCURACY else []
        guessed = [*chance, float(np.mean(chance))] if chance else [-np.inf] * wide.shape[1]
        # What is no better than guessing is no best.
        varies = (wide.nunique() > 1) & (best > np.array(guessed))
        rows: list[tuple[TableCell | str, ...]] = []
        for (name, tokens), row in zip(wide.index.to_list(), wide.to_numpy(), strict=True):
            marked = [bool(value == top and differ) for value, top, differ in zip(row, best, varies, strict=True)]
            cells = [TableCell(fixed(v, measure.places), v, best=b) for v, b in zip(row, marked, strict=True)]
            count = int(seeds[name, tokens])
            gain = [_make_gain_cell(row[-1], self._baseline_mean(wide, name, tokens))] if self.reference else []
            when = [TableCell(si(tokens), int(tokens))] if moments else []
            rows.append((name, *when, TableCell(str(count), count), *cells, *gain))
        if measure is ACCURACY:
            cells = [TableCell(fixed(v, 1), v) for v in guessed]
            rows.append(("guessing", *([""] if moments else []), "", *cells, *([""] if self.reference else [])))
        named = " ".join(map(axis_title, self.axes)) or "model"
        heads = (named, *(["tokens"] if moments else []), "seeds", *wide.columns)
        heads = (*heads, "Δ (%)") if self.reference else heads
        return Table(heads, tuple(rows), self._caption(measure), f"tab:tasks-{measure.column.replace('_', '-')}")

    def over_items(self, measure: Measure) -> Table:
        """Each arm minus its baseline by task, with 95 % intervals over items; `AnalysisError` without a pair."""
        found = {(stratum, arm): self._effects(part, arm, measure) for stratum, arm, part in self._pairs()}
        if not found:
            raise AnalysisError("no arm shares a seed with its baseline whose models have both been evaluated")
        columns = list(next(iter(found.values())))
        p = {c: holm({key: e[c].p for key, e in found.items() if not np.isnan(e[c].p)}) for c in columns}
        rows: list[tuple[TableCell | str, ...]] = []
        for (stratum, arm), by_task in found.items():
            cells = []
            for column, e in by_task.items():
                noise = not e.same and p[column].get((stratum, arm), 1.0) >= 0.05
                reach = "" if np.isnan(e.low) else f" ± {fixed(measure.factor * (e.high - e.low) / 2, measure.places)}"
                text = fixed(measure.factor * e.difference, measure.places, signed=True) + reach
                cells.append(TableCell("same answers" if e.same else text, measure.factor * e.difference, noise=noise))
            rows.append((f"{stratum} {arm}".strip(), *cells))
        test = "an exact test of turned signs (one seed: McNemar's)" if measure is ACCURACY else "t tests"
        caption = (
            f"Difference of {measure.name} to {self.reference}, paired by item, seeds averaged first. ± 95 % over "
            f"items: the same models on other items. Marks by {test}, adjusted for the number of "
            "rows (Holm)."
        )
        return Table((f"minus {self.reference}", *columns), tuple(rows), caption, f"tab:items-{measure.column}")

    def over_seeds(self, measure: Measure) -> Table:
        """Each arm's mean over tasks minus its baseline's, paired by seed. Raises `AnalysisError` without a pair."""
        if self._page is None:
            return comparison_table(self.comparison(measure), f"Mean over {len(self.tasks)} tasks.")
        found = self._page.find("test", "tasks" if measure is ACCURACY else "gold_bits")[0]
        return comparison_table(found, f"Mean over {len(self.tasks)} tasks.")

    def comparison(self, measure: Measure) -> Comparison:
        """The mean over tasks as `compare` has it. Raises `AnalysisError` where no arm has a pair."""
        metric = f"average {measure.short}"
        pairs = [part for _, _, part in self._pairs()]
        if not pairs:
            raise AnalysisError("no arm shares a seed with its baseline whose models have both been evaluated")
        rows = pd.concat(pairs).drop_duplicates(["cell", "task"]).dropna(subset=[measure.column])
        within = [a for a in self.within if rows[a].nunique() > 1 or rows[a].iloc[0]]
        keys = [*within, "arm", "seed"]
        table = rows.groupby(keys, sort=False)[measure.column].mean().mul(measure.factor).rename(metric).reset_index()
        return compare(table, metric=metric, baseline=self.reference, within=within,
                       lower_is_better=measure.lower_is_better)  # fmt: skip

    def curves(self) -> Block:
        """Mean accuracy against training tokens."""
        keys = ["name", "stratum", "arm", "seed", "tokens"]
        mean = self.answers.groupby(keys, sort=False)["value"].mean().mul(100).reset_index()
        return line_grid(
            mean,
            x="tokens",
            y="value",
            arm="arm" if self.reference else "name",
            panel="stratum" if self.reference and mean["stratum"].any() else None,
            x_label="training tokens",
            y_label="average accuracy (%)",
            arm_label=self.named if self.reference else "",
            logarithmic=False,
            caption="Accuracy, averaged over tasks, of the models along training.",
        )

    def _pairs(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Stratum, arm, and the final answers of that arm and of its baseline at the seeds that both have."""
        for stratum, part in self.final.groupby("stratum", sort=False):
            base = part[part["arm"] == self.reference]
            for arm, mine in part.groupby("arm", sort=False):
                seeds = set(mine["seed"]) & set(base["seed"])
                if arm != self.reference and seeds:
                    both = pd.concat([mine, base])
                    yield str(stratum), str(arm), both[both["seed"].isin(seeds)]

    def _effects(self, both: pd.DataFrame, arm: str, measure: Measure) -> dict[str, ItemEffect]:
        found: dict[str, ItemEffect] = {}
        for task, part in both.dropna(subset=[measure.column]).groupby("task", sort=False):
            keyed = part.set_index(["arm", "seed"])
            ours, theirs = [], []
            for seed in sorted(set(part["seed"])):
                pair = [self._items(keyed.loc[(name, seed), "key"])[str(task)] for name in (arm, self.reference)]
                pair[0].check_same(pair[1], f"{task} of {arm} and {self.reference}, seed {seed}")
                ours.append(pair[0])
                theirs.append(pair[1])
            found[str(task)] = measure.effect(ours, theirs)
        return found | {MEAN: mean_effect(list(found.values()))}

    def _baseline_mean(self, wide: pd.DataFrame, name: str, tokens: int) -> float:
        """The mean over tasks of the arm's baseline after as many tokens; NaN where there is none, or it is its own."""
        rows = self.answers
        stratum = rows.loc[rows["name"] == name, "stratum"].iloc[0]
        base = rows.loc[(rows["stratum"] == stratum) & (rows["arm"] == self.reference), "name"]
        if not len(base) or base.iloc[0] == name or (base.iloc[0], tokens) not in wide.index:
            return float("nan")
        return float(wide.loc[(base.iloc[0], tokens), MEAN])

    def _chance(self, task: str) -> float:
        row = self.answers[self.answers["task"] == task].iloc[0]
        return self._items(row["key"])[task].chance

    def _caption(self, measure: Measure) -> str:
        text = f"{measure.name[0].upper()}{measure.name[1:]}, mean over seeds."
        text += f" The first {self.limit} items of each task." if self.limit else ""
        if measure is ACCURACY:
            shown = self.answers.drop_duplicates("task").set_index("task")["metric"]
            other = [f"{task}: {metric}" for task, metric in shown.items() if metric != "acc"]
            text += f" Metric acc, but {', '.join(other)}." if other else " Metric acc."
            cut = self.answers.groupby("task", sort=False)["cut"].mean()
            long = [f"{task} {share:.0%}" for task, share in cut.items() if share > 0]
            text += f" Longer than the context, and so cut at their beginning: {', '.join(long)}." if long else ""
        if self.reference:
            text += f" Δ: of the average to that of {self.reference}, without an interval here."
        return text


def _join_labels(frame: pd.DataFrame, columns: Sequence[str], by: str) -> pd.Series:
    """The labels of these columns in one; empty text without columns."""
    return frame[list(columns)].agg(by.join, axis=1) if columns else pd.Series("", index=frame.index)


def _make_gain_cell(value: float, base: float) -> TableCell:
    gain = 100 * (value / base - 1)
    return TableCell(fixed(gain, 1, signed=True), gain)
