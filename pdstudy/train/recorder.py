"""The rows of metrics.jsonl, and a clock that says where a run's time goes."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdstudy.core.format import si
from pdstudy.models.distributed import Ranks
from pdstudy.workspace.run_dir import RunDir

ROWS = 250
"""Rows that a run writes, about; shorter runs write one per step."""


PEAK_FLOPS = {
    "B200": 2.25e15, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12,
    "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12,
}  # fmt: skip
"""Dense bfloat16 FLOPs per second, as the maker states them, by a part of the device's name; the first match counts."""


def peak_flops(device: str) -> float | None:
    """FLOPs per second of a device at most, None where unknown: with a guess, MFU would be a wrong number."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device), None)


class Diverged(Exception):
    """The loss or the gradient norm is no longer a number: a result, not a failure."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step = step
        self.reason = reason


@dataclass
class Clock:
    """Seconds by purpose: evaluation and saves are charged to themselves, all other time to training."""

    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0, "save": 0.0})
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, purpose: str = "train") -> float:
        """Charge the time since the last lap to `purpose`; the total of that purpose."""
        now = time.perf_counter()
        self.seconds[purpose] += now - self._since
        self._since = now
        return self.seconds[purpose]

    @contextlib.contextmanager
    def charge(self, purpose: str) -> Iterator[None]:
        self.lap()
        try:
            yield
        finally:
            self.lap(purpose)


def peak_memory_bytes() -> int:
    """The peak of this process's memory: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Recorder:
    """Turns per-step values into rows, with one wait for the device per row.

    A row's `loss`, `lm` and `kd` are means over the tokens since the row before; `alpha`, `lr` and `grad_norm` are
    those of its last step. `mfu` is there where the device's `peak` is known: the student's training FLOPs (three
    forwards) over what the devices could have done in the time without evaluations and saves.

    `pending` are the steps since the last row; a checkpoint keeps them, so that a resumed run writes the rows of an
    undisturbed one. `check` is called with the steps whose values come to the host, before these are looked at.
    """

    def __init__(
        self,
        directory: RunDir,
        clock: Clock,
        ranks: Ranks,
        *,
        num_steps: int,
        tokens_per_step: int,
        flops_per_token: float,
        peak: float | None = None,
        check: Callable[[list[int]], None] = lambda steps: None,
    ) -> None:
        self._check = check
        self._directory = directory
        self._ranks = ranks
        self._clock = clock
        self._num_steps = num_steps
        self._interval = -(-num_steps // ROWS)
        self._tokens_per_step = tokens_per_step
        self._flops_per_token = flops_per_token
        self._peak = None if peak is None else peak * ranks.size
        self._on_device: list[tuple[int, int, dict[str, Tensor]]] = []
        self._row_seconds = clock.seconds["train"]
        self._row_step = 0
        self.pending: list[dict[str, float]] = []
        self.tokens_per_second = 0.0

    def resume(self, pending: list[dict[str, float]], step: int) -> None:
        """Go on after `step`, with what the checkpoint kept."""
        self.pending = list(pending)
        self._row_seconds, self._row_step = self._clock.seconds["train"], step

    def add(self, step: int, valid: int, values: dict[str, Tensor]) -> None:
        """Note step `step` (1-based) of `valid` tokens over all ranks: this rank's share of the loss and sums of its
        parts, and `grad_norm`, that of the whole gradient."""
        self._on_device.append((step, valid, values))

    def drain(self) -> None:
        """Bring what was noted to the host. Raises `Diverged` at the first step that is not finite."""
        if not self._on_device:
            return
        noted, self._on_device = self._on_device, []
        self._check([step for step, _, _ in noted])
        names = list(noted[0][2])
        shares = torch.stack([torch.stack([v[name].double() for name in names]) for _, _, v in noted])
        norms = shares[:, names.index("grad_norm")].clone()
        table = self._ranks.sum(shares)
        table[:, names.index("grad_norm")] = norms  # every rank has the whole one already
        for (step, valid, _), row in zip(noted, table.tolist(), strict=True):
            values = dict(zip(names, row, strict=True))
            for name in ("loss", "grad_norm"):
                if not math.isfinite(values[name]):
                    raise Diverged(step, f"{name} is {values[name]}")
            self.pending.append({"valid": valid, **values})

    def is_due(self, step: int) -> bool:
        return step == 1 or step % self._interval == 0 or step == self._num_steps

    def write(self, step: int, *, lr: float, alpha: float) -> None:
        """Append the row of `step`. Raises `Diverged`."""
        self.drain()
        seconds = self._clock.lap()
        tokens = step * self._tokens_per_step
        spent = max(seconds - self._row_seconds, 1e-9)
        self.tokens_per_second = (step - self._row_step) * self._tokens_per_step / spent
        valid = sum(values["valid"] for values in self.pending)
        row: dict[str, float] = {
            "step": step,
            "tokens": tokens,
            "loss": sum(values["loss"] * values["valid"] for values in self.pending) / valid,
        }
        for part in ("lm", "kd"):
            if part in self.pending[0]:
                row[part] = sum(values[part] for values in self.pending) / valid
        row |= {
            "alpha": alpha,
            "lr": lr,
            "grad_norm": self.pending[-1]["grad_norm"],
            "flops": self._flops_per_token * tokens,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "memory_bytes": peak_memory_bytes(),
            "seconds": round(seconds, 3),
        }
        if self._peak is not None:
            row["mfu"] = round(self._flops_per_token * self.tokens_per_second / self._peak, 4)
        if self._ranks.main:
            self._directory.append_metrics(row)
        self._ranks.say(
            f"step {step}/{self._num_steps}: loss {row['loss']:.4f}, grad {row['grad_norm']:.3g}, lr {lr:.3g}, "
            f"{si(self.tokens_per_second)} tokens/s"
        )
        self.pending = []
        self._row_seconds, self._row_step = seconds, step
