"""A process group as a run of one rank opens it, and an all-reduce over it: NCCL on a device, gloo on a CPU."""

from __future__ import annotations

import torch
import torch.distributed as dist

from pdstudy.models.distributed import open_ranks
from tests.bench.device_setting import DEVICE, SMALL, rate, say


def main() -> None:
    with open_ranks(replicas=1, sharded=True):
        values = torch.ones(10_000 if SMALL else 100_000_000, device=DEVICE)
        per_second = rate(lambda: dist.all_reduce(values), values.numel() * values.element_size(), 10)
        say({
            "backend": str(dist.get_backend_config()),
            "ranks": dist.get_world_size(),
            "devices": torch.cuda.device_count() if DEVICE.type == "cuda" else 0,
            "sum_is_right": bool((values == 1).all()),
            "bytes_per_second": per_second,
        })  # fmt: skip


if __name__ == "__main__":
    main()
