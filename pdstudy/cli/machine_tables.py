"""Devices, hours and memory of a plan, in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from pdstudy.config.placement import Execution, Machine, resolve
from pdstudy.core.streams import printable
from pdstudy.launch.devices import Devices, Layout, lay_out_artifact
from pdstudy.launch.gpus import Gpu
from pdstudy.plan.artifact import Artifact
from pdstudy.plan.memory import DeviceMemory, declared_memory, describe, device_memory, memory_warnings
from pdstudy.plan.plan import Plan


@dataclass(frozen=True)
class Here:
    """The part of this machine that a plan may use: GPUs, workers at a time; and the rules for its ranks."""

    workers: int
    gpus: tuple[Gpu, ...] = ()
    per_gpu: int = 1
    rules: tuple[Execution, ...] = ()

    @functools.cached_property
    def devices(self) -> Devices:
        return Devices(tuple(gpu.id for gpu in self.gpus), self.per_gpu, self.rules)

    def __str__(self) -> str:
        count = len(self.gpus)
        if not count:
            return f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        sharing = f", {self.per_gpu} runs on each" if self.per_gpu > 1 else ""
        return f"{count} GPU{'s' if count > 1 else ''}{sharing}"

    def prices(self, plan: Plan) -> bool:
        """Whether the plan's prices are those of devices that are here: GPUs, or cores of a machine without."""
        return (plan.study.machine.unit == Machine.unit) == bool(self.gpus)

    def layout(self, plan: Plan, artifact: Artifact) -> Layout:
        return lay_out_artifact(artifact, self.devices, plan.study.placement)

    def memory(self, plan: Plan, artifact: Artifact) -> DeviceMemory | None:
        """Memory of each device for an artifact, on the devices that it has here, or that its rules ask for."""
        layout = self.layout(plan, artifact)
        gpu = plan.study.machine.unit == Machine.unit or bool(self.gpus)
        return device_memory(
            artifact, plan.study.placement, max(1, layout.count or layout.asked), layout.replicas, gpu=gpu
        )

    def _execution(self, plan: Plan, artifact: Artifact) -> Execution:
        """The devices that an artifact is given here, as an execution."""
        layout = self.layout(plan, artifact)
        count = max(1, layout.count)
        return Execution(tasks_per_node=count, gpus=count, replicas=layout.replicas)

    def warnings(self, plan: Plan) -> Iterator[str]:
        """Artifacts that need more memory than their rules declare for a device, or than the GPUs here have."""
        yield from memory_warnings(plan, lambda a: resolve(self.rules, a.stage, a.parameters), declared_memory)
        least = min((gpu.memory for gpu in self.gpus), default=0)
        if least:
            yield from memory_warnings(plan, lambda a: self._execution(plan, a), lambda _: least)


def machine_lines(plan: Plan, here: Here) -> Iterator[str]:
    """Artifacts that have several devices or fewer than their rules ask for, and memory."""
    if here.gpus:
        yield from _layout_lines(plan, here)
    needs: dict[str, DeviceMemory] = {}
    for artifact in plan.todo:
        needed = here.memory(plan, artifact)
        if needed is not None and (artifact.kind not in needs or needed.total > needs[artifact.kind].total):
            needs[artifact.kind] = needed
    for kind, needed in needs.items():
        yield f"memory of a device for {kind}, at most: {describe(needed)}"


def _layout_lines(plan: Plan, here: Here) -> Iterator[str]:
    layouts = [(artifact, here.layout(plan, artifact)) for artifact in plan.todo]
    several = {layout for _, layout in layouts if layout.count > 1 or layout.asked > layout.count}
    for layout in sorted(several, key=lambda layout: -layout.count):
        labels = [f"{a.kind} {printable(a.label)}" for a, each in layouts if each == layout]
        others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        short = f" of the {layout.asked} that its rules ask for" if layout.asked > layout.count else ""
        yield f"{layout.count} GPU{'s' if layout.count > 1 else ''} at a time{short}: {labels[0]}{others}"
