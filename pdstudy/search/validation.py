"""Problems of what a search declares: its space, what is wanted of trials, its rungs, the stores of its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pdstudy.config.data import View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.logits import Coverage, StoreSpec, required_coverage, spec_of, union
from pdstudy.config.losses import Single
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, LM, Run
from pdstudy.core.validation import Problem, mistyped, problems
from pdstudy.search.objectives import AtMost, Quantity
from pdstudy.search.space import Choice, Dimension, Integer, Level, Log, Simplex, Uniform, corners


def check_quantities(
    objectives: Sequence[Quantity], constraints: Sequence[AtMost], validation: Heldout, view: View
) -> Iterator[Problem]:
    """Problems of objectives and constraints, and of the text that they are measured on."""
    for part, each in (("objectives", objectives), ("constraints", constraints)):
        for i, wanted in enumerate(each):
            yield from problems(wanted, f"{part}[{i}]")
        if any(a in each[:i] for i, a in enumerate(each)):
            yield Problem(part, each, "each once")
    quantities = [*objectives, *(c.quantity for c in constraints if isinstance(c.quantity, Quantity))]
    for quantity in quantities:
        if quantity.recalibrates and validation.data.tokens < 2 * view.context:
            allowed = f"2 sequences of {view.context} tokens or more, which {quantity} takes"
            yield Problem("validation.data.tokens", validation.data.tokens, allowed)


def check_rungs(
    rungs: tuple[int, ...], base: Run, runs: Iterable[Run], faults: Callable[[Run], list[Problem]]
) -> Iterator[Problem]:
    """Rungs that are no lengths below the whole, and runs of the space that are wrong only at the length of a rung."""
    sound = [run for run in runs if not faults(run)]
    shortest = min((run.num_tokens for run in sound), default=base.num_tokens)
    if not rungs or sorted({0, *rungs, shortest}) != [0, *rungs, shortest]:
        yield Problem("pruner.rungs", rungs, f"rising, below the {shortest:,} tokens of the space's shortest run")
        return
    for tokens in rungs:
        short = (dataclasses.replace(run, steps=None, tokens=tokens) for run in sound)
        wrong = (f"{p.field}: found {p.found!r}; allowed: {p.allowed}" for run in short for p in faults(run))
        for said in dict.fromkeys(wrong):
            yield Problem("pruner.rungs", tokens, f"a length that every run of the space can have ({said})")


def check_stores(ends: Iterable[Run], inside: Iterable[Run]) -> Iterator[Problem]:
    """Runs inside the space that the stores of the runs at its ends do not serve."""
    served: dict[StoreSpec, list[Coverage]] = {}
    for spec, need in _store_needs(ends):
        served.setdefault(spec, []).append(need)
    for spec, need in _store_needs(inside):
        if need.taus and not union(served.get(spec, [need])).admits(need):
            yield Problem("space: objective.temperature", f"a range, where {need.taus[0]:.3g} is one of its values",
                          "a Choice of temperatures: a store keeps the mass outside its entries at the temperatures "
                          "that are declared, so that each trial would need the teacher's inference anew")  # fmt: skip
            return


def _store_needs(runs: Iterable[Run]) -> Iterator[tuple[StoreSpec, Coverage]]:
    for run in runs:
        spec = spec_of(normal_form(run))
        if spec is not None and isinstance(run.objective, KD):
            yield spec, required_coverage(run.objective)


def check_space(space: Mapping[str, Dimension]) -> Iterator[Problem]:
    """Dimensions that have no values, or several that set one field."""
    if not space:
        yield Problem("space", space, "at least one field")
    found = list(_check_dimensions(space, "space"))
    yield from found
    if not found:
        yield from _check_overwritten(space)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _check_dimensions(space: Mapping[str, Dimension], at: str) -> Iterator[Problem]:
    for path, dimension in space.items():
        name = f"{at}[{path!r}]"
        if not isinstance(path, str):
            yield Problem(name, path, "a field of the base, as text")
        elif isinstance(dimension, Uniform | Log | Integer):
            yield from _check_range(dimension, name)
        elif isinstance(dimension, Choice):
            yield from _check_choice(dimension, name)
        elif isinstance(dimension, Simplex):
            yield from _check_simplex(dimension, name)
        else:
            yield Problem(name, dimension, "a dimension: Uniform, Log, Integer, Choice or Simplex")


def _check_range(dimension: Uniform | Log | Integer, name: str) -> Iterator[Problem]:
    wrong = [p.below(name) for p in mistyped(dimension)]
    yield from wrong
    if wrong:
        return
    low, high = dimension.low, dimension.high
    if low >= high:
        yield Problem(f"{name}.low", low, f"below high, {high}")
    if isinstance(dimension, Log) and low <= 0:
        yield Problem(f"{name}.low", low, "above 0, where a logarithm is")
    if isinstance(dimension, Integer):
        if dimension.step < 1:
            yield Problem(f"{name}.step", dimension.step, "1 or more")
        elif (dimension.high - dimension.low) % dimension.step:
            last = dimension.high - (dimension.high - dimension.low) % dimension.step
            yield Problem(f"{name}.high", high, f"low and a multiple of step, {dimension.step} (nearest below: {last})")


def _check_choice(choice: Choice, name: str) -> Iterator[Problem]:
    levels = choice.levels
    if not isinstance(levels, Mapping) or not levels or not all(map(_is_text, levels)):
        yield Problem(f"{name}.levels", levels, "one or more values (or Levels), each under a label, which is text")
        return
    seen: dict[str, Any] = {}
    for label, level in levels.items():
        alike = next((other for other, value in seen.items() if value == level), None)
        if alike is not None:
            yield Problem(f"{name}.levels[{label!r}]", level, f"another value than that of {alike!r}")
        seen[label] = level
        if not isinstance(level, Level):
            continue
        if not isinstance(level.space, Mapping):
            yield Problem(f"{name}.levels[{label!r}].space", level.space, "a mapping from fields to dimensions")
        else:
            yield from _check_dimensions(level.space, f"{name}.levels[{label!r}].space")


def _check_simplex(simplex: Simplex, name: str) -> Iterator[Problem]:
    losses = simplex.terms
    if not isinstance(losses, Mapping) or len(losses) < 2 or not all(map(_is_text, losses)):
        yield Problem(f"{name}.terms", losses, "two or more losses, each under a label, which is text")
        return
    seen: dict[str, Any] = {}
    for label, loss in losses.items():
        alike = next((other for other, value in seen.items() if value == loss), None)
        if alike is not None:
            yield Problem(f"{name}.terms[{label!r}]", loss, f"another loss than that of {alike!r}")
        elif not isinstance(loss, LM | Single):
            yield Problem(f"{name}.terms[{label!r}]", loss, "LM() or a divergence, such as KLD()")
        seen[label] = loss


def _check_overwritten(space: Mapping[str, Dimension]) -> Iterator[Problem]:
    """Fields that one dimension sets and a later one sets again: what the first says would have no effect."""
    said = set()
    for changes in corners(space):
        for i, (path, value) in enumerate(changes):
            later = next((p for p, _ in changes[i + 1 :] if p == path or path.startswith(f"{p}.")), None)
            if later is not None and (path, later) not in said:
                said.add((path, later))
                yield Problem(f"space: {path}", value, f"a field that no later dimension sets again, as {later!r} does",
                              hint="put the wider field first, or leave one out")  # fmt: skip
