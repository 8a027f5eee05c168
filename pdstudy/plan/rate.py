"""The speed at which a plan is priced: that of finished runs where there are any, else the machine's."""

from __future__ import annotations

from collections.abc import Sequence

from pdstudy.core.files import read_json
from pdstudy.study.study import Study
from pdstudy.workspace.run_dir import RunDir


def measured_rate(directory: RunDir) -> float | None:
    """FLOP/s of one device of a finished run."""
    result = directory.result()
    if result is None or result["seconds"]["train"] <= 0:
        return None
    ranks = (read_json(directory.path / "provenance.json") or {}).get("ranks", 1)
    return float(result["flops"]["student"] / result["seconds"]["train"] / ranks)


def plan_rate(study: Study, measured: Sequence[float]) -> tuple[float, str]:
    """FLOP/s of a device, and where the number comes from: the median of what was measured."""
    if not measured:
        return study.machine.flops_per_second, f"assumed for {study.machine.name}"
    rates, half = sorted(measured), len(measured) // 2
    return (rates[half] + rates[-1 - half]) / 2, f"median of {len(measured)} finished runs of this study here"
