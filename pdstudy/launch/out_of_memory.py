"""A device that has no more memory: how that is recognised, and the one line that says what to set.

Imports no torch: its exceptions are told by their names.
"""

from __future__ import annotations

import os

from pdstudy.config.placement import TRAINING
from pdstudy.core.format import size
from pdstudy.launch.devices import name_devices
from pdstudy.launch.gpus import find_gpus
from pdstudy.launch.work_order import WorkOrder
from pdstudy.train.training_job import TrainingJob


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host, had no memory left (torch has no class of its own for the host's)."""
    device = "OutOfMemory" in type(error).__name__
    return device or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def explain_memory(order: WorkOrder, sharing: int) -> str:
    """One line for an order that this process had too little memory for, its device shared by up to `sharing` runs."""
    ids = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    where = name_devices(ids) or "this machine"
    total = next((gpu.memory for gpu in find_gpus() if ids), 0)
    ways = [f"fewer at a time on one GPU (--per-gpu, now {sharing})"] if ids and sharing > 1 and ranks == 1 else []
    ways += _settings(order, ranks)
    if ids and order.kind in (*TRAINING, "logits"):
        ways.append(f"Execution(stage={order.kind!r}, gpus={2 * ranks}): the model over more GPUs (now {ranks})")
    elif not ids:
        ways.append("fewer workers at a time (--workers)")
    return f"out of memory on {where}{f' ({size(total)} each)' if total else ''}; set {', or '.join(ways)}"


def _settings(order: WorkOrder, ranks: int) -> list[str]:
    """Settings of a placement by which training needs less, the cheapest first."""
    if not isinstance(order.work, TrainingJob):
        return []
    run, placement, ways = order.work.run, order.work.placement, []
    context, whole = run.view.context, run.tokens_per_step // ranks
    tokens = placement.micro_batch_tokens or whole
    if tokens > context:
        now = f"{tokens:,}" if placement.micro_batch_tokens else f"None: the {whole:,} of a step"
        smaller = max(context, tokens // 2 // context * context)
        ways.append(f"Placement(micro_batch_tokens={smaller}) (now {now})")
    if not placement.activation_checkpointing:
        ways.append("Placement(activation_checkpointing=True)")
    return ways
