"""What is wrong with a search, all of it at once: its own fields, its space, its rungs, its last comparison."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pdstudy.config.evaluation import split_of
from pdstudy.config.logits import Coverage, StoreSpec, required_coverage, spec_of, union
from pdstudy.config.losses import Single
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, LM
from pdstudy.core.validation import Problem, mistyped
from pdstudy.search.objectives import AtMost, Quantity
from pdstudy.search.space import ENDS, INSIDE, Choice, Dimension, Integer, Level, Log, Simplex, Uniform, corners
from pdstudy.study.grid import Arm, Change, changed

if TYPE_CHECKING:
    from pdstudy.search.search import Final, Halving, Search


def check_search(search: Search) -> Iterator[Problem]:
    """Every problem of a search. Fields of a wrong type come alone: with them nothing else can be looked at."""
    wrong = list(_mistyped(search))
    yield from wrong or _of_fields(search)
    if wrong:
        return
    of_space = list(_of_space(search.space))
    yield from of_space
    if of_space:
        if isinstance(search.space, Mapping):
            yield from _of_names(search)
        yield from search.faults(search.base)
        return
    if search.pruner is not None:
        yield from _of_rungs(search, search.pruner)
    of_corners = search.envelope().problems()
    for problem in of_corners:
        yield dataclasses.replace(problem, field=problem.field.replace("evaluations[0]", "validation"))
    if not of_corners:
        yield from _of_stores(search)


def _mistyped(search: Search) -> Iterator[Problem]:
    for problem in mistyped(search):
        # Of these every element is looked at by itself.
        if problem.field not in ("objectives", "constraints") or not isinstance(problem.found, tuple):
            yield problem
    for part in ("pruner", "sampler", "final"):
        value = getattr(search, part)
        if dataclasses.is_dataclass(value):
            yield from (dataclasses.replace(p, field=f"{part}.{p.field}") for p in mistyped(value))
    if search.final is not None and isinstance(search.final.controls, Mapping):
        for label, fields in search.final.controls.items():
            if not isinstance(label, str) or not isinstance(fields, Mapping) or not all(map(_is_text, fields)):
                yield Problem(f"final.controls[{label!r}]", fields, "a mapping from fields of the base to their values")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _of_fields(search: Search) -> Iterator[Problem]:
    if search.trials < 1:
        yield Problem("trials", search.trials, "1 or more")
    if search.device_hours is not None and search.device_hours <= 0:
        yield Problem("device_hours", search.device_hours, "above 0, or None for no bound")
    if not 1 <= len(search.objectives) <= 2:
        yield Problem("objectives", search.objectives, "one or two")
    yield from _of_quantities(search)
    if search.validation.data.split != "validation":
        yield Problem("validation", search.validation.data.split, "a validation slice: test is for what was chosen")
    if search.pruner is not None:
        yield from _of_pruner(search, search.pruner)
    if search.final is not None:
        yield from _of_final(search, search.final)


def _of_pruner(search: Search, pruner: Halving) -> Iterator[Problem]:
    if len(search.objectives) > 1:
        yield Problem("pruner", pruner, "None with two objectives, which have no order")
    if not 0 < pruner.keep <= 1:
        yield Problem("pruner.keep", pruner.keep, "a share, above 0 to 1")
    if pruner.band < 0:
        yield Problem("pruner.band", pruner.band, "nats, 0 or more")


def _of_quantities(search: Search) -> Iterator[Problem]:
    named: list[tuple[str, Any]] = [(f"objectives[{i}]", q) for i, q in enumerate(search.objectives)]
    for i, constraint in enumerate(search.constraints):
        if not isinstance(constraint, AtMost):
            yield Problem(f"constraints[{i}]", constraint, "AtMost(QUANTITY, BOUND)")
            continue
        if not math.isfinite(constraint.bound):
            yield Problem(f"constraints[{i}].bound", constraint.bound, "a finite number")
        named.append((f"constraints[{i}].quantity", constraint.quantity))
    for name, quantity in named:
        if not isinstance(quantity, Quantity):
            yield Problem(name, quantity, "a Quantity: Loss(), Calibration(), Compute(), SecondsPerToken()")
            continue
        yield from quantity.problems(name)
        if quantity.recalibrates and search.validation.data.tokens < 2 * search.base.view.context:
            allowed = f"2 sequences of {search.base.view.context} tokens or more, which {quantity} takes"
            yield Problem("validation.data.tokens", search.validation.data.tokens, allowed)
    for part in ("objectives", "constraints"):
        each = getattr(search, part)
        if any(a in each[:i] for i, a in enumerate(each)):
            yield Problem(part, each, "each once")


def _of_final(search: Search, final: Final) -> Iterator[Problem]:
    seen = sorted({*final.seeds} & {*search.seeds})
    if seen:
        yield Problem("final.seeds", seen, f"seeds that the search does not train: other than {search.seeds}")
    if final.best < 1:
        yield Problem("final.best", final.best, "1 or more")
    if not final.controls:
        yield Problem("final.controls", final.controls, "at least one arm to compare with")
    if all(split_of(e) != "test" for e in final.evaluations):
        yield Problem("final.evaluations", final.evaluations, "a test slice among them")
    compared = dataclasses.replace(search.study([Arm({}, ())]), seeds=final.seeds, evaluations=final.evaluations)
    for problem in compared.problems():
        if problem.field.startswith(("seeds", "evaluations")):
            yield dataclasses.replace(problem, field=f"final.{problem.field}")
    of_base = list(search.faults(search.base))
    for label, fields in final.controls.items():
        at = f"final.controls[{label!r}]"
        if label.startswith("trial "):
            yield Problem(at, label, "a label that does not begin with 'trial ', as those of the best trials do")
        run, faults = changed(search.base, Arm({}, tuple(Change(path, value, "", 0) for path, value in fields.items())))
        for problem in [*faults, *(p for p in search.faults(run) if p not in of_base)]:
            yield dataclasses.replace(problem, field=f"{at}: {problem.field}")


def _of_rungs(search: Search, pruner: Halving) -> Iterator[Problem]:
    """Rungs that are no lengths below the whole, and runs of the space that are wrong only at the length of a rung."""
    rungs = pruner.rungs
    whole = [changed(search.base, search.arm("", corner))[0] for corner in corners(search.space)]
    sound = [run for run in whole if not any(search.faults(run))]
    shortest = min((run.num_tokens for run in sound), default=search.base.num_tokens)
    if not rungs or sorted({0, *rungs, shortest}) != [0, *rungs, shortest]:
        yield Problem("pruner.rungs", rungs, f"rising, below the {shortest:,} tokens of the space's shortest run")
        return
    for tokens in rungs:
        short = (dataclasses.replace(run, steps=None, tokens=tokens) for run in sound)
        wrong = (f"{p.field}: found {p.found!r}; allowed: {p.allowed}" for run in short for p in search.faults(run))
        for said in dict.fromkeys(wrong):
            yield Problem("pruner.rungs", tokens, f"a length that every run of the space can have ({said})")


def _of_stores(search: Search) -> Iterator[Problem]:
    """Trials between the corners of the space that the corners' stores do not serve."""
    served: dict[StoreSpec, list[Coverage]] = {}
    for spec, need in _store_needs(search, ENDS):
        served.setdefault(spec, []).append(need)
    for spec, need in _store_needs(search, INSIDE):
        if need.taus and not union(served.get(spec, [need])).admits(need):
            yield Problem("space: objective.temperature", f"a range, where {need.taus[0]:.3g} is one of its values",
                          "a Choice of temperatures: a store has the mass of what is not kept at those taus alone that "
                          "are asked of it, and each trial would take a teacher's pass of its own")  # fmt: skip
            return


def _store_needs(search: Search, at: tuple[float, ...]) -> Iterator[tuple[StoreSpec, Coverage]]:
    for changes in corners(search.space, at):
        run, _ = changed(search.base, search.arm("", changes))
        spec = spec_of(normal_form(run))
        if spec is not None and isinstance(run.objective, KD):
            yield spec, required_coverage(run.objective)


def _of_space(space: Mapping[str, Dimension]) -> Iterator[Problem]:
    if not space:
        yield Problem("space", space, "at least one field")
    found = list(_of_dimensions(space, "space"))
    yield from found
    if not found:
        yield from _overwritten(space)


def _of_names(search: Search) -> Iterator[Problem]:
    """Fields of a space, else unsound, that the base does not have; what a wider dimension brings may have them."""
    paths = [path for path in search.space if isinstance(path, str)]
    for path in paths:
        if not any(path.startswith(f"{wider}.") for wider in paths):
            yield from changed(search.base, search.arm("", [(path, None)]))[1]


def _of_dimensions(space: Mapping[str, Dimension], at: str) -> Iterator[Problem]:
    for path, dimension in space.items():
        name = f"{at}[{path!r}]"
        if not isinstance(path, str):
            yield Problem(name, path, "a field of the base, as text")
        elif isinstance(dimension, Uniform | Log | Integer):
            yield from _of_range(dimension, name)
        elif isinstance(dimension, Choice):
            yield from _of_choice(dimension, name)
        elif isinstance(dimension, Simplex):
            yield from _of_simplex(dimension, name)
        else:
            yield Problem(name, dimension, "a dimension: Uniform, Log, Integer, Choice or Simplex")


def _of_range(dimension: Uniform | Log | Integer, name: str) -> Iterator[Problem]:
    wrong = [dataclasses.replace(p, field=f"{name}.{p.field}") for p in mistyped(dimension)]
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


def _of_choice(choice: Choice, name: str) -> Iterator[Problem]:
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
            yield from _of_dimensions(level.space, f"{name}.levels[{label!r}].space")


def _of_simplex(simplex: Simplex, name: str) -> Iterator[Problem]:
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


def _overwritten(space: Mapping[str, Dimension]) -> Iterator[Problem]:
    """Fields that one dimension sets and a later one sets again: what the first says would have no effect."""
    said = set()
    for changes in corners(space):
        for i, (path, value) in enumerate(changes):
            later = next((p for p, _ in changes[i + 1 :] if p == path or path.startswith(f"{p}.")), None)
            if later is not None and (path, later) not in said:
                said.add((path, later))
                yield Problem(f"space: {path}", value, f"a field that no later dimension sets again, as {later!r} does",
                              hint="put the wider field first, or leave one out")  # fmt: skip
