"""Texts and models that a study reads: each corpus once, and what is wrong or doubtful about what is read of them."""

from __future__ import annotations

from pdstudy.config.data import Corpus, Slice
from pdstudy.config.evaluation import Heldout, corpus_of, text_of
from pdstudy.config.run import Pretrained, Run
from pdstudy.core.identity import fingerprint
from pdstudy.core.origin import Spot, spot_of
from pdstudy.core.validation import Problem
from pdstudy.plan.artifact import CorpusArtifact
from pdstudy.plan.preflight import TextLimits, check_tokenizer, seen_text, unused_bos
from pdstudy.study.study import Cell, Study
from pdstudy.workspace.layout import Workspace


class Inputs:
    """Corpora and folders of a plan in the making. `problems` forbid it, `doubts` are warnings, with file and line."""

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self._study = study
        self._workspace = workspace
        self.corpora: dict[str, CorpusArtifact] = {}
        self.problems: list[Problem] = []
        self.doubts: list[str] = []
        self._limits: dict[str, TextLimits] = {}
        self._too_long: set[tuple[str, Slice]] = set()
        self._seen: set[tuple[Run, Slice]] = set()

    def corpus(self, corpus: Corpus, read: list[tuple[str, Slice]], cell: Cell) -> str:
        """Add a corpus, with the slices that a run reads of it, by field; those of evaluations too. Its key."""
        evaluated = [
            (f"evaluations[{i}].data", text)
            for i, evaluation in enumerate(self._study.evaluations)
            if (text := text_of(evaluation)) is not None and corpus_of(evaluation) is None
        ]
        return self._reads(corpus, [*read, *evaluated], cell)

    def other_corpora(self, cell: Cell) -> list[str]:
        """Add the corpora that evaluations read besides that of the run; their keys."""
        return [
            self._reads(evaluation.corpus, [(f"evaluations[{i}].data", evaluation.data)], cell)
            for i, evaluation in enumerate(self._study.evaluations)
            if isinstance(evaluation, Heldout) and evaluation.corpus is not None
        ]

    def _add(self, corpus: Corpus, cell: Cell) -> str:
        """Add a corpus behind those that are built before it."""
        key = fingerprint(corpus)
        if key not in self.corpora:
            needs = tuple(self._add(each, cell) for each in corpus.needs)
            self._limits[key] = TextLimits(corpus, self._workspace, here=not self._study.elsewhere)
            self.corpora[key] = CorpusArtifact(
                key=key, label=corpus.label, done=self._limits[key].built, corpus=corpus, needs=needs
            )
            if not needs and (problem := unused_bos(corpus)) is not None:
                self.doubts.append(str(problem.at(self.spot(cell, problem.field))))
        return key

    def _reads(self, corpus: Corpus, wanted: list[tuple[str, Slice]], cell: Cell) -> str:
        key = self._add(corpus, cell)
        for name, part in wanted:
            if (name, part) not in self._too_long:
                if (problem := self._limits[key].check(name, part)) is not None:
                    self.problems.append(problem.at(self.spot(cell, name)))
                elif (problem := self._limits[key].doubt(name, part)) is not None:
                    self.doubts.append(str(problem.at(self.spot(cell, name))))
                if problem is not None:
                    self._too_long.add((name, part))
        return key

    def check_folder(self, teacher: Pretrained, corpus: str, at: str, cell: Cell) -> None:
        """Hold a folder's tokenizer against that of the corpus of this key."""
        problem, doubt = check_tokenizer(teacher, self._limits[corpus])
        if problem is not None and (problem := problem.below(at).at(self.spot(cell, at))) not in self.problems:
            self.problems.append(problem)
        if doubt:
            self._doubt(doubt, cell, at)

    def note_seen(self, teacher: Run, data: Slice, cell: Cell, at: str) -> None:
        """Say once of each teacher and slice what it has read of that."""
        if (teacher, data) not in self._seen and (note := seen_text(teacher, data)) is not None:
            self._doubt(note, cell, at)
        self._seen.add((teacher, data))

    def _doubt(self, text: str, cell: Cell, at: str) -> None:
        file, line = self.spot(cell, at)
        self.doubts.append(f"{file}:{line}: {at}: {text}")

    def spot(self, cell: Cell, name: str) -> Spot:
        """File and line of a field of the study, or else of a cell's run."""
        owned = any(name.startswith(field) for field in ("evaluations", "captures", "downstream"))
        return (spot_of(self._study, name) if owned else cell.spot_of(name)) or self._study.where
