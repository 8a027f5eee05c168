"""How many of each a plan has: students by budget, models that are asked tasks, teachers, passes, branches.

The studies of a folder that have a `group` are counted apart from the others (those that a paper does not have, beside
those that it has).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pdstudy.captures import StoreNeed
from pdstudy.collection import Collection
from pdstudy.config import Run
from pdstudy.items import Item, Plan
from pdstudy.pricing import training_flops
from pdstudy.study import Study


@dataclass(frozen=True)
class Tally:
    """What the studies of one group have, less what a group before it has already.

    `budgets` are (tokens, student runs of so many), most tokens first; `asked` are models that are asked tasks, one job
    each; `finetuned` are those that are finetuned before that; `flops` are those of training the students; `saved`
    those of steps that they take over from each other, in `branches` runs.
    """

    group: str
    budgets: tuple[tuple[int, int], ...]
    asked: int
    finetuned: int
    flops: float
    branches: int
    saved: float

    @property
    def runs(self) -> int:
        return sum(runs for _, runs in self.budgets)

    @property
    def tokens(self) -> int:
        return sum(tokens * runs for tokens, runs in self.budgets)


def tallies(plan: Plan) -> list[Tally]:
    """One per group, that of the studies without a name of their group first, whatever exists of it already."""
    groups = _groups(plan.study)
    items = {item.key: item for item in plan.items if item.kind != "evaluate"}
    of: dict[str, list[Item]] = {group: [] for group in sorted(set(groups.values()))}
    for item in plan.items:
        if item.kind in ("student", "finetune", "evaluate"):
            of[_group(item, items, groups)].append(item)
    return [_tally(group, members) for group, members in of.items()]


def _tally(group: str, items: list[Item]) -> Tally:
    students = [(i, i.subject) for i in items if i.kind == "student" and isinstance(i.subject, Run)]
    branches = [i for i, _ in students if i.saved]
    saved = sum(i.saved for i in branches)
    return Tally(
        group,
        tuple(sorted(Counter(run.num_tokens for _, run in students).items(), reverse=True)),
        sum(i.kind == "evaluate" for i in items),
        sum(i.kind == "finetune" for i in items),
        sum(training_flops(run) for _, run in students) - saved,
        len(branches),
        saved,
    )


def _groups(study: Study) -> dict[str, str]:
    """Study name to group."""
    members = study.studies if isinstance(study, Collection) else (study,)
    return {member.name: member.group for member in members}


def _group(item: Item, items: dict[str, Item], groups: dict[str, str]) -> str:
    """The first group that has a run as a cell; of what is no cell, that of what it needs."""
    if item.cells:
        names = [cell.partition(",")[0].removeprefix("study=") for cell in item.cells]
        return min(groups.get(name, min(groups.values())) for name in names)
    parents = [items[key] for key in item.needs if key in items]
    found = [_group(p, items, groups) for p in parents if isinstance(p.subject, Run) and p.kind != "teacher"]
    return min(found, default=min(groups.values()))


def passes(plan: Plan) -> tuple[int, int, int]:
    """Teachers to train, teachers' passes over text, and the tokens of those passes."""
    needs = [item.subject for item in plan.stores if isinstance(item.subject, StoreNeed)]
    tokens = sum(len(need.sequences) * need.spec.view.context for need in needs)
    return sum(item.kind == "teacher" for item in plan.items), len(needs), tokens
