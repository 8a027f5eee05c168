"""What runs are priced on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What a run is priced on: sustained training FLOP/s of one device (peak times MFU), and its hours' name.

    `devices`, `cores` and `read_bytes_per_second` are what one node of it has: what reading a store is held against.
    """

    name: str
    flops_per_second: float
    unit: str = "GPU-hours"
    devices: int = 1
    cores: int = 1
    read_bytes_per_second: float = 1e9


CPU_CORE = Machine(name="one CPU core", flops_per_second=2.0e10, unit="core-hours")
H100 = Machine(
    name="H100 (989 TFLOP/s bf16 at MFU 0.35)",
    flops_per_second=0.35 * 989e12,
    devices=8,
    cores=96,
    read_bytes_per_second=2e9,
)
"""Eight to a node; its cores and the 2 GB/s that it reads of a shared file system are assumed, state your own."""
