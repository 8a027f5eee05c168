"""The sizes of the stores of a plan: bytes on disk, and what reading them needs of a node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pdstudy.config.logits import Kept
from pdstudy.config.placement import Machine
from pdstudy.plan.artifact import RunArtifact, StoreArtifact
from pdstudy.plan.cost import bytes_per_token, sizes, vocabulary
from pdstudy.plan.plan import Plan

DECODED_ENTRIES_PER_CORE = 5.5e7
"""Entries per second that one core decodes of an exact store: 1.1 million tokens at k = 50, the slowest that was
measured (reports/notes/distill.md)."""


@dataclass(frozen=True)
class Stored:
    """The stores that one `Kept` is about.

    `at_most` are their bytes with all k entries of every token, `expected` those at the mean number of entries, `coded`
    the same in the coded form (`KD.stored`), `published` the bytes that the source of that number counts for them.
    """

    kept: Kept
    tokens: int
    at_most: float
    expected: float
    coded: float
    published: float


@dataclass(frozen=True)
class Reading:
    """The most demanding reader of a store: bytes per second, and the cores that decode them, on one node."""

    run: str
    bytes_per_second: float
    cores: float
    fits: bool


def stored(plan: Plan) -> list[Stored]:
    """One per `Study.kept` whose cut some stores of the plan have, captured or to be captured."""
    found = []
    for kept in plan.study.kept:
        cut = (kept.cut.p, kept.cut.k, 0)
        mine = [s for s in plan.stores if (s.need.coverage.p, s.need.coverage.k, s.need.coverage.draws) == cut]
        if mine:
            tokens = sum(store.tokens for store in mine)
            found.append(
                Stored(
                    kept,
                    tokens,
                    at_most=sum(_bytes(store) for store in mine),
                    expected=sum(_bytes(store, kept.entries) for store in mine),
                    coded=sum(_bytes(store, kept.entries, coded=True) for store in mine),
                    published=kept.entries * kept.bytes_per_entry * tokens,
                )
            )
    return found


def _bytes(store: StoreArtifact, entries: float | None = None, *, coded: bool = False) -> float:
    coverage = dataclasses.replace(store.need.coverage, encoding="small") if coded else store.need.coverage
    return bytes_per_token(coverage, vocabulary(store.need.spec.teacher), entries) * store.tokens


def reading(plan: Plan) -> Reading | None:
    """Reading rate and cores that the fastest student takes of a node; None where nobody reads a store."""
    stores = {store.key: store for store in plan.stores}
    found = [_reading(plan.study.machine, run, stores[key]) for run in plan.runs for key in run.needs if key in stores]
    return max(found, key=lambda r: r.bytes_per_second, default=None)


def _reading(machine: Machine, reader: RunArtifact, store: StoreArtifact) -> Reading:
    coverage = store.need.coverage
    tokens_per_second = machine.devices * machine.flops_per_second / (3 * sizes(reader.run)[2])
    entries = (coverage.k or reader.run.student.vocab) + coverage.draws
    rate = tokens_per_second * (store.bytes / store.tokens)
    cores = tokens_per_second * entries / DECODED_ENTRIES_PER_CORE
    return Reading(reader.label, rate, cores, rate <= machine.read_bytes_per_second and cores <= machine.cores)
