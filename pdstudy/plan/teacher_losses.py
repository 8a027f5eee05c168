"""Held-out losses of teachers that are not trained here, as artifacts of a plan: one per teacher, corpus and view."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pdstudy.config.evaluation import Heldout, TeacherText, tokens_of
from pdstudy.config.run import Pretrained, Run
from pdstudy.core.files import read_json
from pdstudy.core.identity import fingerprint
from pdstudy.plan.artifact import TeacherLossArtifact
from pdstudy.plan.cost import teacher_flops
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace


class TeacherLosses:
    """The artifacts of a plan in the making, by key."""

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self._evaluations = tuple(each for each in study.evaluations if isinstance(each, Heldout))
        self._workspace = workspace
        self._made: dict[str, TeacherLossArtifact] = {}

    def add(self, run: Run, cell: str, others: Iterable[str] = ()) -> None:
        """Add what is wanted of a run's teacher: nothing of one that is a run, whose end has its losses.

        `others` are the keys of corpora beside the run's own that evaluations read.
        """
        if not isinstance(run.teacher, Pretrained) or not self._evaluations:
            return
        text = TeacherText(teacher=run.teacher, corpus=run.corpus, view=run.view)
        key = fingerprint(text)
        made = self._made.get(key) or self._make(text, key, tuple(others))
        self._made[key] = dataclasses.replace(made, taught=(*made.taught, cell))

    def artifacts(self) -> tuple[TeacherLossArtifact, ...]:
        return tuple(self._made.values())

    def _make(self, text: TeacherText, key: str, others: tuple[str, ...]) -> TeacherLossArtifact:
        there = read_json(self._workspace.teacher(text) / "result.json") or {"evals": []}
        scored = {row["eval"] for row in there["evals"]}
        missing = [each for each in self._evaluations if fingerprint(each) not in scored]
        priced = missing or self._evaluations
        return TeacherLossArtifact(
            key=key,
            label=f"{Path(text.teacher.path).name}, the teacher's own losses",
            done=not missing,
            state="new" if missing else "done",
            needs=(fingerprint(text.corpus), *others),
            flops=teacher_flops(text.teacher, text.view.context) * sum(map(tokens_of, priced)),
            text=text,
            evaluations=self._evaluations,
        )
