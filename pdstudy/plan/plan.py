"""A plan: the artifacts of a study as items, in an order in which they can be made, and what they come to."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pdstudy.config.data import Corpus
from pdstudy.config.downstream import Downstream
from pdstudy.config.logits import StoreNeed
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem
from pdstudy.study.study import Study

Kind = Literal["corpus", "teacher", "logits", "student", "finetune", "evaluate"]


@dataclass(frozen=True)
class Artifact:
    """One artifact of a study.

    `needs` are the keys of the items that must be there first; `after` are those whose end it waits for, good or bad,
    because it may go on from where they are, and `saved` the FLOPs that this spares it. `reads` is the store that a
    student learns from, `records` are those that a run writes as it trains, `exports` the steps whose models others
    start from.
    """

    kind: Kind
    key: str
    label: str
    done: bool
    subject: Corpus | Run | StoreNeed | Downstream
    needs: tuple[str, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0
    state: str = "new"
    cells: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    saved: float = 0.0
    reads: StoreNeed | None = None
    records: tuple[StoreNeed, ...] = ()
    exports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    study: Study
    items: tuple[Artifact, ...]
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    rate: float = 0.0
    rate_source: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    """Cell name to run key."""

    def check_here(self) -> None:
        """Raises `ConfigError` where texts or models that the study names are not on this machine."""
        if self.study.missing:
            lacking = "\n".join(f"  {p}" for p in self.study.missing)
            raise ConfigError(f"study {self.study.name} can be planned here, not run; missing:\n{lacking}")

    @property
    def todo(self) -> tuple[Artifact, ...]:
        return tuple(i for i in self.items if not i.done)

    @functools.cached_property
    def stores(self) -> tuple[Artifact, ...]:
        return tuple(i for i in self.items if i.kind == "logits")

    def seconds(self, items: Iterable[Artifact]) -> float:
        """Device-seconds at the plan's rate."""
        return sum(i.flops for i in items) / self.rate

    def totals(self) -> dict[str, Any]:
        todo = self.todo
        return {
            "items": len(self.items),
            "done": len(self.items) - len(todo),
            "flops": sum(i.flops for i in self.items),
            "flops_todo": sum(i.flops for i in todo),
            "device_hours_todo": self.seconds(todo) / 3600,
            "bytes_todo": sum(i.bytes for i in todo),
            "longest_chain_hours": self._longest_chain() / 3600,
        }

    def _longest_chain(self) -> float:
        """Seconds that no number of devices can shorten (each item on one device)."""
        finish: dict[str, float] = {}
        for item in self.items:
            start = max((finish.get(n, 0.0) for n in (*item.needs, *item.after)), default=0.0)
            finish[item.key] = start + (0.0 if item.done else item.flops / self.rate)
        return max(finish.values(), default=0.0)


def ordered(items: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """The items as they are given, but each behind all that it needs or waits for. Raises `ConfigError` on a circle."""
    waiting = {item.key: item for item in items}
    placed: dict[str, Artifact] = {}
    for first in list(waiting):
        path = [first]
        while path:
            item = waiting[path[-1]]
            before = next((k for k in (*item.needs, *item.after) if k in waiting and k not in placed), None)
            if before is None:
                placed[path.pop()] = item
            elif before in path:
                labels = " needs ".join(waiting[key].label for key in (*path[path.index(before) :], before))
                raise ConfigError(f"these runs wait for each other: {labels}")
            else:
                path.append(before)
    return tuple(placed.values())
