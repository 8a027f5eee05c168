"""What is wrong with what a study measures, beside its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING

from pdstudy.config.data import View
from pdstudy.config.evaluation import Evaluation, HeldoutResponses, text_of
from pdstudy.config.finetuning import Finetuning
from pdstudy.config.outputs import Compare, GainAndKept, GainBySize
from pdstudy.core.validation import Problem, nearest, problems

if TYPE_CHECKING:
    from pdstudy.study.study import Study


def check_evaluations(study: Study) -> Iterator[Problem]:
    """Faults of each evaluation, and slices or examples that do not fit the runs."""
    contexts = {c.run.view.context for c in study.cells}
    if isinstance(study.base.view, View) and not list(problems(study.base.view)):
        contexts.add(study.base.view.context)
    for i, evaluation in enumerate(study.evaluations):
        at = f"evaluations[{i}]"
        faults = list(problems(evaluation, at))
        yield from (p for p in faults if not (study.elsewhere and p.missing))
        if faults:
            continue
        yield from _trained_on(study, at, evaluation)
        text = text_of(evaluation)
        for part in ("start", "tokens") if text is not None else ():
            value = getattr(text, part)
            for context in sorted(c for c in contexts if value % c):
                hint = f"nearest: {max(part == 'tokens', round(value / context)) * context}"
                yield Problem(f"{at}.data.{part}", value, f"a multiple of the context, {context}", hint=hint)


def _trained_on(study: Study, at: str, evaluation: Evaluation) -> Iterator[Problem]:
    """Examples that are held out here and that a run of the study learns from: what it holds out is less."""
    if isinstance(evaluation, HeldoutResponses):
        share = evaluation.instructions.validation
        learned = {c.run.instructions for c in study.cells} | {f.instructions for f in _finetunings(study).values()}
        for given in sorted({instructions.validation for instructions in learned if instructions is not None}):
            if given < share:
                yield Problem(f"{at}.instructions.validation", share, f"at most {given}, what its runs hold out")


def check_downstream(study: Study) -> Iterator[Problem]:
    """Faults of what models are asked, and finetuning that does not fit the runs."""
    for i, asked in enumerate(study.downstream):
        yield from (p for p in problems(asked, f"downstream[{i}]") if not (study.elsewhere and p.missing))
    alike = {(cell.run.tokens_per_step, cell.run.view): cell.run for cell in study.cells}
    for at, finetuning in _finetunings(study).items():
        for run in alike.values() if not any(problems(finetuning)) or study.elsewhere else ():
            for problem in problems(finetuning.of(run)):
                if problem.field.startswith(("tokens", "data", "schedule")) and not problem.missing:
                    yield dataclasses.replace(problem, field=f"{at}.{problem.field}")


def _finetunings(study: Study) -> dict[str, Finetuning]:
    """By the field that declares it."""
    found = {f"downstream[{i}].finetune": asked.finetune for i, asked in enumerate(study.downstream)}
    return {at: finetuning for at, finetuning in found.items() if finetuning is not None}


def check_outputs(study: Study, axes: Mapping[str, Set[str]]) -> Iterator[Problem]:
    """Faults of each output, and what it names that the study has not: axes, a baseline, an arm."""
    for i, output in enumerate(study.outputs):
        at = f"outputs[{i}]"
        faults = list(problems(output, at))
        yield from faults
        for name in output.axes() if not faults else ():
            if name not in axes:
                yield Problem(at, name, f"an axis: {sorted(axes)}", hint=nearest(name, axes))
        if not study.baseline and isinstance(output, Compare | GainAndKept | GainBySize):
            yield Problem("baseline", dict(study.baseline), f"the arm that {type(output).__name__} compares with",
                          hint="such as baseline={'loss': 'LM'}")  # fmt: skip
        if isinstance(output, Compare) and isinstance(output.against, str):
            arms = {"/".join(a.labels.get(name, "") for name in study.baseline) for a in study.grid.arms}
            if output.against not in arms and study.baseline.keys() <= axes.keys():
                yield Problem(f"{at}.against", output.against, f"an arm: {sorted(arms)}",
                              hint=nearest(output.against, arms))  # fmt: skip
