"""Running a function on several ranks: processes forked from a server that has imported everything once."""

from __future__ import annotations

import multiprocessing as mp
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch

CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pdstudy.train.loop"])


def start(size: int, target: Callable[..., None], *args: Any) -> list[BaseProcess]:
    """Start `target(*args)` on `size` ranks; it must be a function of a module."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes: list[BaseProcess] = []
    for rank in range(size):
        process = CONTEXT.Process(target=_on_rank, args=(rank, size, port, target, args), daemon=True)
        process.start()
        processes.append(process)
    return processes


def run(size: int, target: Callable[..., None], *args: Any, timeout: float = 120) -> None:
    """Run to the end; a rank that fails fails the test."""
    processes = start(size, target, *args)
    for process in processes:
        process.join(timeout)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * size


def _on_rank(rank: int, size: int, port: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    target(*args)
