"""Bytes of a plan's stores: a bound, what is to be expected where someone has measured what a cut keeps, and what that
source itself counts for as many tokens."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdstudy.captures import StoreNeed
from pdstudy.objective import TopPK
from pdstudy.pricing import bytes_per_token, vocabulary

if TYPE_CHECKING:
    from pdstudy.items import Plan


@dataclass(frozen=True)
class Kept:
    """Entries that `cut` keeps of a token on average, as `source` measured them of a teacher like a study's.

    `bytes_per_entry` is what the source counts for one of them on disk.
    """

    cut: TopPK
    entries: float
    source: str
    bytes_per_entry: float


@dataclass(frozen=True)
class Stored:
    """The stores that one `Kept` is about: their tokens, bytes at most, bytes at its mean number of entries, the same
    if they were coded (`KD.stored`), and the bytes that its source would count for them."""

    kept: Kept
    tokens: int
    at_most: float
    expected: float
    coded: float
    published: float


def stored(plan: Plan) -> list[Stored]:
    """One per `Study.kept` that stores of the plan, to be captured or captured, are cut like."""
    needs = [item.subject for item in plan.stores if isinstance(item.subject, StoreNeed)]
    found = []
    for kept in plan.study.kept:
        mine = [n for n in needs if (n.coverage.p, n.coverage.k, n.coverage.draws) == (kept.cut.p, kept.cut.k, 0)]
        tokens = [len(n.sequences) * n.spec.view.context for n in mine]
        if mine:
            coded = [(dataclasses.replace(n.coverage, encoding="small"), n) for n in mine]
            plain = [(n.coverage, n) for n in mine]
            at_most, expected, packed = (
                sum(bytes_per_token(c, vocabulary(n.spec.teacher), entries) * t for (c, n), t in zip(each, tokens))
                for each, entries in ((plain, None), (plain, kept.entries), (coded, kept.entries))
            )
            published = kept.entries * kept.bytes_per_entry * sum(tokens)
            found.append(Stored(kept, sum(tokens), at_most, expected, packed, published))
    return found
