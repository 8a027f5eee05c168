"""The ranks of a run, and the few things that they agree on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from pdstudy.core.errors import ConfigError

T = TypeVar("T")


TIMEOUT = timedelta(minutes=30)
"""The longest wait of a rank for the others in one exchange."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of a run. `mesh` is None where one process trains the bare model.

    `saves` is a group of its own for checkpoints written in the background: their exchanges must not mix with those
    of the steps.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    saves: dist.ProcessGroup | None = None

    @property
    def main(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """A line of the run's log, from the main rank, with the time."""
        if self.main:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is up on at least one rank: the same answer on all."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)  # on the CPU: the device is not waited for
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def from_main(self, value: Any) -> Any:
        """The main rank's value (JSON-like data)."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def first(self, value: T | None) -> T | None:
        """The value of the first rank that has one (JSON-like data): the same on all ranks."""
        if self.size == 1:
            return value
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return next((each for each in values if each is not None), None)

    def gather(self, values: list[T]) -> list[T]:
        """The values of all ranks, in the ranks' order, on the main rank; nothing elsewhere."""
        if self.size == 1:
            return values
        parts: list[list[T]] | None = [[]] * self.size if self.main else None
        dist.gather_object(values, parts)
        return [value for part in parts or () for value in part]

    def on_main(self, action: Callable[[], T]) -> T:
        """Run `action` on the main rank and return its (JSON-like) result on all; where it fails, all ranks raise."""
        if self.size == 1:
            return action()
        result, failure = None, None
        if self.main:
            try:
                result = action()
            except (ConfigError, OSError) as error:
                failure = str(error)
        result, failure = self.from_main([result, failure])
        if failure is not None:
            raise ConfigError(failure)
        return result


@contextlib.contextmanager
def open_ranks(*, replicas: int, sharded: bool) -> Iterator[Ranks]:
    """The ranks that the environment describes (torchrun's variables, which submitit exports too), or one process.

    A process group that exists already is used and left alone. `sharded` asks for a mesh even for one process.
    Raises `ConfigError` where the ranks cannot be divided among `replicas`.
    """
    size = dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
    device = own_device()
    if size % replicas:
        raise ConfigError(f"placement.replicas: found {replicas}; allowed: a divisor of the ranks, {size}")
    if size == 1 and not sharded and not dist.is_initialized():
        yield Ranks(device)
        return
    owned = not dist.is_initialized()
    if owned:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if size > 1:
            dist.init_process_group(backend, timeout=TIMEOUT)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        if replicas > 1:
            mesh = init_device_mesh(device.type, (replicas, size // replicas), mesh_dim_names=("replicate", "shard"))
        else:
            mesh = init_device_mesh(device.type, (size,), mesh_dim_names=("shard",))
        yield Ranks(device, dist.get_rank(), size, mesh, dist.new_group(backend="gloo", timeout=TIMEOUT))
    finally:
        if owned:
            dist.destroy_process_group()


def own_device() -> torch.device:
    """The accelerator that is this process's among those of its node, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
