"""A folder of study files, planned and run as one study. What they share is made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pdstudy.config.downstream import Downstream
from pdstudy.core.origin import Spot, spot_of
from pdstudy.core.validation import Problem
from pdstudy.study.study import Cell, Study, matches


@dataclass(frozen=True)
class Collection(Study):
    """A study whose runs are those of its `studies`, named `study=NAME,...`.

    It is planned, priced, run and submitted like any study; reports are those of its members. Evaluations are the
    members' together, made of every run, so that a run which several studies share is scored once for all.
    """

    studies: tuple[Study, ...] = field(default=())

    @staticmethod
    def of(name: str, studies: Sequence[Study]) -> Collection:
        """The studies as one, those of a `group` of their own last. Placement and machine are those of the first."""
        studies = sorted(studies, key=lambda study: study.group)
        first = studies[0]
        return Collection(
            name=name,
            base=first.base,
            seeds=tuple(dict.fromkeys(s for study in studies for s in study.seeds)),
            evaluations=tuple(dict.fromkeys(e for study in studies for e in study.evaluations)),
            captures={f"{s.name}, {name}": capture for s in studies for name, capture in s.captures.items()},
            placement=first.placement,
            executions=tuple(dict.fromkeys(e for study in studies for e in study.executions)),
            machine=first.machine,
            kept=tuple(dict.fromkeys(k for study in studies for k in study.kept)),
            elsewhere=any(study.elsewhere for study in studies),
            studies=tuple(studies),
        )

    @property
    def where(self) -> Spot:
        return self.studies[0].where

    def problems(self) -> list[Problem]:
        """Those of the members, and names that occur twice."""
        names = [study.name for study in self.studies]
        twice = sorted({name for name in names if names.count(name) > 1})
        found = [
            Problem("name", name, "a name of its own for each study of a folder").at(spot_of(study, "name"))
            for name in twice
            for study in [s for s in self.studies if s.name == name][-1:]
        ]
        return found + [problem for study in self.studies for problem in study.problems()]

    def downstream_of(self, cell: Cell) -> tuple[Downstream, ...]:
        return next(study.downstream for study in self.studies if study.name == cell.labels["study"])

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The members' runs, in their order, labelled with the member's name."""
        made = [
            dataclasses.replace(cell, labels={"study": study.name, **cell.labels})
            for study in self.studies
            for cell in study.cells
        ]
        return tuple(c for c in made if self.only is None or matches(c.name, self.only))
