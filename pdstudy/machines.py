"""What runs are priced on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What a run is priced on: sustained training FLOP/s of one device (peak times MFU), and its hours' name."""

    name: str
    flops_per_second: float
    unit: str = "GPU-hours"


CPU_CORE = Machine(name="one CPU core", flops_per_second=2.0e10, unit="core-hours")
H100 = Machine(name="H100 (989 TFLOP/s bf16 at MFU 0.35)", flops_per_second=0.35 * 989e12)
