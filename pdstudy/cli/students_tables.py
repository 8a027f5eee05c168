"""Designs of studies of distillation, in words and as JSON: their part of `print_design` and `design_json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pdstudy.cli.design_tables import design_json as design_json
from pdstudy.cli.design_tables import format_error
from pdstudy.cli.design_tables import print_design as print_design
from pdstudy.cli.students_design import ForetoldStudents, PlaceSpread, StudentsDesign
from pdstudy.cli.tables import print_table
from pdstudy.cli.terminal import say
from pdstudy.core.format import si


@print_design.register
def _(found: ForetoldStudents) -> None:
    losses = ", ".join(f"{loss:.3f}" for loss in found.teachers)
    say(f"study {found.study}: {found.students} students under {len(found.teachers)} teachers, {found.alone} LM runs")
    say(f"assumed without a teacher: {_coefficients(found.law)}")
    say(f"assumed of students: {_coefficients(found.student_law)}")
    say(f"so that the teachers' losses are {losses}; noise {found.noise:.2%} of the loss")
    failed = f", {found.failed} fits did not converge" if found.failed else ""
    say(f"{found.draws} simulated studies, both laws fitted in each{failed}\n")
    rows = []
    for spread, linear in (*found.parameters, *found.held_out):
        unknown = spread.name in found.unknown
        errors = ("", "") if unknown else (format_error(spread.error, spread), format_error(linear, spread))
        ends = f"{spread.low:.4g} to {spread.high:.4g}"
        rows.append([spread.name.removeprefix("loss at "), f"{spread.value:.4g}", *errors, ends,
                     "not identified" if unknown else ""])  # fmt: skip
    print_table(["quantity", "true", "s.e.", "first order", "95 % of studies", ""], rows, right=frozenset({1, 2, 3}))
    say("primed: coefficients of students; at N, D, LT: losses held out, to which a run adds its noise")
    if found.unknown:
        say("not identified: the number will mean nothing, predictions may be good all the same")
    say("\ntokens up to which a student is better distilled, by N and the teacher's loss")
    _print_places(found.crossovers, "N", lambda loss: f"{loss:.3f}", _crossover)
    most = max(place.other for place in found.best_teachers)
    say(f"beyond {si(most)}, the most of a student, they rest on the law alone")
    say("\nbest teacher's loss and its s.e. in nats, by N and the student's tokens")
    _print_places(found.best_teachers, "N", si, _best)
    say("lowest, highest: at this end of the teachers' losses")
    say("\nthe study without one of its labels (s.e. of the same, to first order)")
    rows = [_design_row(design) for design in found.designs]
    head = ["design", "students", "FLOPs of plan", "held out", "crossover", "best teacher"]
    print_table(head, rows, right=frozenset(range(1, 6)))
    say("held out: root mean square; crossover and best teacher's loss: median of those above")
    say("runs are taken to err independently, branches of one trunk too")


def _coefficients(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _crossover(place: PlaceSpread) -> str:
    return place.end or f"{si(place.spread.value)} {100 * place.spread.error:.2g} %"


def _best(place: PlaceSpread) -> str:
    return place.end or f"{place.spread.value:.3f} {place.spread.error:.2g}"


def _print_places(
    places: Sequence[PlaceSpread], corner: str, heading: Callable[[float], str], shown: Callable[[PlaceSpread], str]
) -> None:
    """A table of sizes by the second coordinate."""
    others = sorted({place.other for place in places})
    by_place = {(place.size, place.other): place for place in places}
    rows = []
    for size in sorted({place.size for place in places}):
        row = [by_place.get((size, other)) for other in others]
        rows.append([si(size), *("" if p is None else shown(p) for p in row)])
    print_table([corner, *map(heading, others)], rows, right=frozenset(range(len(others) + 1)))


def _design_row(design: StudentsDesign) -> list[str]:
    start = [design.title, f"{design.students}", si(design.flops)]
    if design.missing:
        return [*start, "", "", f"too few {design.missing}"]
    held, crossed = ("" if e is None else f"{100 * e:.2g} %" for e in (design.held_out, design.crossover))
    return [*start, held, crossed, "" if design.best_teacher is None else f"{design.best_teacher:.2g}"]


@design_json.register
def _(found: ForetoldStudents) -> dict[str, Any]:
    def spreads(pairs: Sequence[tuple[Any, float]]) -> list[dict[str, Any]]:
        return [asdict(spread) | {"first_order": linear} for spread, linear in pairs]

    return {
        "study": found.study,
        "runs_alone": found.alone,
        "students": found.students,
        "teacher_losses": list(found.teachers),
        "law": found.law,
        "student_law": found.student_law,
        "noise": found.noise,
        "draws": found.draws,
        "failed": found.failed,
        "parameters": spreads(found.parameters),
        "not_identified": list(found.unknown),
        "held_out": spreads(found.held_out),
        "crossovers": [_place_json(place, "teacher_loss") for place in found.crossovers],
        "best_teachers": [_place_json(place, "D") for place in found.best_teachers],
        "designs": [asdict(design) for design in found.designs],
    }


def _place_json(place: PlaceSpread, other: str) -> dict[str, Any]:
    return {
        "N": place.size,
        other: place.other,
        **asdict(place.spread),
        "first_order": place.first_order,
        "end": place.end,
    }
