"""Problems of what a study measures beside its runs: evaluations, tasks, outputs, a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from pdstudy.config.data import View
from pdstudy.config.declared_laws import LawOutput
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Evaluation, Heldout, HeldoutResponses, Probe, corpus_of, split_of, text_of
from pdstudy.config.finetuning import Finetuning
from pdstudy.config.model import MuP, Shape, Student
from pdstudy.config.model_folder import check_folder
from pdstudy.config.outputs import Compare, GainAndKept, GainBySize, GainDifferences, Output
from pdstudy.config.run import Pretrained, Run
from pdstudy.core.identity import fingerprint
from pdstudy.core.validation import Problem, nearest, problems
from pdstudy.study.grid import Grid


def check_labels(grid: Grid, baseline: Mapping[str, str]) -> Iterator[Problem]:
    """A baseline that names no arm, and arms that are called alike."""
    axes = levels(grid)
    for name in axes:
        if not isinstance(name, str) or not name.strip():
            yield Problem("grid", name, "axes whose names are text, and not empty")
    for name, label in baseline.items():
        if name not in axes:
            yield Problem(f"baseline[{name!r}]", name, f"an axis: {sorted(axes)}", hint=nearest(name, axes))
        elif not isinstance(label, str) or label not in axes[name]:
            allowed = f"a level of {name!r}: {sorted(axes[name])}"
            yield Problem(f"baseline[{name!r}]", label, allowed, hint=nearest(label, axes[name]))
    names = Counter(",".join(f"{k}={v}" for k, v in a.labels.items()) for a in grid.arms)
    for twice in sorted(name for name, count in names.items() if count > 1):
        yield Problem("grid", twice, "arms with labels of their own; this one occurs more than once")


def levels(grid: Grid) -> dict[str, set[str]]:
    """The labels of each axis."""
    axes: dict[str, set[str]] = {}
    for a in grid.arms:
        for name, label in a.labels.items():
            axes.setdefault(name, set()).add(label)
    return axes


def check_evaluations(
    evaluations: Sequence[Evaluation], view: View, runs: Sequence[Run], downstream: Sequence[Downstream]
) -> Iterator[Problem]:
    """Problems of each evaluation, and slices or examples that do not fit the runs (`view` is that of the base)."""
    contexts = {run.view.context for run in runs}
    if isinstance(view, View) and not any(problems(view)):
        contexts.add(view.context)
    learned = {run.instructions for run in runs} | {f.instructions for f in _finetunings(downstream).values()}
    held_out = sorted({instructions.validation for instructions in learned if instructions is not None})
    for i, evaluation in enumerate(evaluations):
        at = f"evaluations[{i}]"
        wrong = list(problems(evaluation, at))
        yield from wrong
        if wrong:
            continue
        if isinstance(evaluation, Heldout) and evaluation.corpus is not None:
            yield from _check_other(evaluation, at, evaluations[:i], runs)
        if isinstance(evaluation, HeldoutResponses):
            share = evaluation.instructions.validation
            for least in (share_of_runs for share_of_runs in held_out if share_of_runs < share):
                yield Problem(f"{at}.instructions.validation", share, f"at most {least}, what its runs hold out")
        if isinstance(evaluation, Probe) and isinstance(evaluation.teacher, Pretrained):
            for corpus, view in dict.fromkeys((run.corpus, run.view) for run in runs):
                for problem in check_folder(evaluation.teacher.path, corpus, view):
                    yield problem.below(f"{at}.teacher")
        text = text_of(evaluation)
        for part in ("start", "tokens") if text is not None else ():
            value = getattr(text, part)
            for context in sorted(c for c in contexts if value % c):
                hint = f"nearest: {max(part == 'tokens', round(value / context)) * context}"
                yield Problem(f"{at}.data.{part}", value, f"a multiple of the context, {context}", hint=hint)


def _check_other(heldout: Heldout, at: str, before: Sequence[Evaluation], runs: Sequence[Run]) -> Iterator[Problem]:
    """Problems of an evaluation on another corpus: other tokens, or the column of an evaluation before it."""
    assert heldout.corpus is not None
    ids = fingerprint(heldout.corpus.ids)
    if any(fingerprint(run.corpus.ids) != ids for run in runs):
        yield Problem(f"{at}.corpus.tokenizer", heldout.corpus.tokenizer, "the tokenizer of the runs",
                      hint="tokenizer=CORPUS of the runs takes its BPE")  # fmt: skip
    alike = [e for e in before if split_of(e) == split_of(heldout) and corpus_of(e) != heldout.corpus]
    if alike:
        yield Problem(f"{at}.name", heldout.name, f"another than {split_of(heldout)!r}, which one before it has")


def check_downstream(downstream: Sequence[Downstream], runs: Iterable[Run]) -> Iterator[Problem]:
    """Problems of tasks, and finetuning that does not fit the runs."""
    for i, tasks in enumerate(downstream):
        yield from problems(tasks, f"downstream[{i}]")
    alike = {(run.tokens_per_step, run.view): run for run in runs}
    for at, finetuning in _finetunings(downstream).items():
        if all(problem.missing for problem in problems(finetuning)):
            for run in alike.values():
                for problem in problems(finetuning.of(run)):
                    if problem.field.startswith(("tokens", "data", "schedule")) and not problem.missing:
                        yield problem.below(at)


def _finetunings(downstream: Sequence[Downstream]) -> dict[str, Finetuning]:
    """By the field that declares it."""
    found = {f"downstream[{i}].finetune": tasks.finetune for i, tasks in enumerate(downstream)}
    return {at: finetuning for at, finetuning in found.items() if finetuning is not None}


def check_head_sizes(students: Iterable[Student]) -> Iterator[Problem]:
    """Heads of several sizes in one parametrisation, which does not say what their scores are to be scaled from."""
    sizes: dict[MuP, set[int]] = {}
    for student in students:
        if isinstance(student, Shape) and student.parametrisation is not None:
            sizes.setdefault(student.parametrisation, set()).add(student.dim_per_head)
    for mup, found in sizes.items():
        if mup.base_head_dim is None and len(found) > 1:
            yield Problem("student.parametrisation.base_head_dim", None,
                          f"the size of a head at the base width, where sizes differ: {sorted(found)}",
                          hint="or heads of one size, whose number grows")  # fmt: skip


def check_outputs(outputs: Sequence[Output], grid: Grid, baseline: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of each output, and names in it of what the study does not have: axes, a baseline, an arm."""
    axes: Mapping[str, Set[str]] = levels(grid)
    for i, output in enumerate(outputs):
        at = f"outputs[{i}]"
        wrong = list(problems(output, at))
        yield from wrong
        for field, name in output.axes().items() if not wrong else ():
            if name not in axes:
                yield Problem(f"{at}.{field}", name, f"an axis: {sorted(axes)}", hint=nearest(name, axes))
        if isinstance(output, LawOutput) and not wrong:
            for field, labels in output.selections().items():
                yield from _check_selection(labels, f"{at}.{field}", axes)
        if not baseline and isinstance(output, Compare | GainAndKept | GainBySize | GainDifferences):
            yield Problem("baseline", dict(baseline), f"the arm that {type(output).__name__} compares with",
                          hint="such as baseline={'loss': 'LM'}")  # fmt: skip
        if isinstance(output, GainDifferences) and output.axis in baseline:
            others = sorted(axes.keys() - baseline.keys())
            yield Problem(f"{at}.axis", output.axis, f"an axis that the baseline does not name: {others}")
        if isinstance(output, Compare | GainDifferences) and isinstance(output.against, str):
            arms = {"/".join(a.labels.get(name, "") for name in baseline) for a in grid.arms}
            if output.against not in arms and baseline.keys() <= axes.keys():
                yield Problem(f"{at}.against", output.against, f"an arm: {sorted(arms)}",
                              hint=nearest(output.against, arms))  # fmt: skip


def _check_selection(
    labels: Mapping[str, str | Sequence[str]], at: str, axes: Mapping[str, Set[str]]
) -> Iterator[Problem]:
    """Axes and labels that the study does not have."""
    for axis, wanted in labels.items():
        if axis not in axes:
            yield Problem(at, axis, f"an axis: {sorted(axes)}", hint=nearest(axis, axes))
            continue
        for label in (wanted,) if isinstance(wanted, str) else wanted:
            if label not in axes[axis]:
                allowed = f"a level of {axis!r}: {sorted(axes[axis])}"
                yield Problem(f"{at}[{axis!r}]", label, allowed, hint=nearest(label, axes[axis]))
