"""Which GPUs an artifact is made on: how many it takes, and which of them are given to it.

Nothing here starts a process. Without devices all is made on the CPU, one process an artifact.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pdstudy.config.placement import TRAINING, Execution, Placement, resolve
from pdstudy.plan.artifact import Artifact, CorpusArtifact, RunArtifact


@dataclass(frozen=True)
class Devices:
    """GPUs for a plan, by `id` as CUDA_VISIBLE_DEVICES takes it, and how they are shared.

    `per_device` artifacts that need one device may share it; one of several ranks has its devices for itself. `rules`
    say how many ranks a run has, as for jobs of a cluster.
    """

    ids: tuple[str, ...] = ()
    per_device: int = 1
    rules: tuple[Execution, ...] = ()

    @property
    def shares(self) -> int:
        """Artifacts of one device each that there is room for."""
        return len(self.ids) * self.per_device

    def workers(self, limit: int | None, cores: int) -> int:
        """Artifacts made at a time: `limit`, or as many as there are cores. On GPUs no more than there are shares of
        them, and one for work that needs none (a corpus)."""
        if not self.ids:
            return cores if limit is None else limit
        most = self.shares + 1
        return most if limit is None else min(limit, most)


@dataclass(frozen=True)
class Layout:
    """Devices of one artifact: `count` of them (0: none), the number in its rules, copies of the model on them."""

    count: int
    asked: int
    replicas: int = 1


def lay_out_artifact(artifact: Artifact, devices: Devices, placement: Placement) -> Layout:
    """The devices of an artifact: as many as its rules and placement ask for, or the most of these that it can have.

    Ranks never change what a run is, so that fewer are a matter of memory and time alone.
    """
    if isinstance(artifact, CorpusArtifact):
        return Layout(0, 0)
    execution = resolve(devices.rules, artifact.stage, artifact.parameters)
    replicas, sequences = 1, 0
    if artifact.stage in TRAINING and isinstance(artifact, RunArtifact):
        replicas = max(execution.replicas or 1, placement.replicas)
        sequences = artifact.run.sequences_per_step
        asked = max(execution.ranks, placement.replicas)
    else:
        asked = execution.ranks
    most = max(1, min(asked, len(devices.ids)))
    count = next(n for n in range(most, 0, -1) if sequences % n == 0)
    return Layout(count if devices.ids else 0, asked, math.gcd(replicas, count))


def assign(counts: Iterable[int], load: Mapping[str, int], per_device: int) -> Iterator[tuple[str, ...] | None]:
    """Devices for artifacts that take `counts` of them, the most important first; None for one that has to wait.

    `load` has the artifacts on each device now, in the devices' order. Several devices are a block that begins at a
    multiple of their number: where none is free, the least used one is kept for the artifact, so that it begins some
    time, however many smaller ones there are.
    """
    busy, kept = dict(load), set[str]()
    for count in counts:
        chosen: tuple[str, ...] | None = ()
        if count == 1:
            open_to_all = [each for each in busy if each not in kept and busy[each] < per_device]
            chosen = (min(open_to_all, key=lambda each: busy[each]),) if open_to_all else None
        elif count > 1:
            blocks = [block for block in _blocks(list(busy), count) if kept.isdisjoint(block)]
            chosen = min(blocks, key=lambda block: sum(busy[each] for each in block), default=None)
            if chosen is not None and any(busy[each] for each in chosen):
                kept.update(chosen)
                chosen = None
        for each in chosen or ():
            busy[each] += 1 if count == 1 else per_device
        yield chosen


def _blocks(ids: Sequence[str], count: int) -> list[tuple[str, ...]]:
    return [tuple(ids[at : at + count]) for at in range(0, len(ids) - count + 1, count)]


def own_devices() -> str:
    """In words, the devices that this process was given by CUDA_VISIBLE_DEVICES; empty on the CPU."""
    return name_devices(tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))))


def name_devices(ids: Sequence[str]) -> str:
    """Devices in words: "GPU 1", "GPUs 0,1"; empty without any."""
    return f"GPU{'s' if len(ids) > 1 else ''} {','.join(ids)}" if ids else ""
