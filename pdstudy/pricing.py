"""Prices of a study's parts, from declarations alone: parameters, FLOPs, bytes."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

from pdstudy.config import Online, Pretrained, Run
from pdstudy.coverage import Coverage
from pdstudy.evaluations import Evaluation, tokens_of
from pdstudy.files import read_json
from pdstudy.shapes import Shape


def bytes_per_token(coverage: Coverage, vocab: int, entries: float | None = None) -> float:
    """Upper bound, or at a mean of so many `entries`. Plain: float32 value and 2- or 4-byte id per entry and per draw,
    24 bytes of statistics and 4 per tempered tail. Coded: a byte in the place of the value."""
    k = min(coverage.k or vocab, vocab) if entries is None else entries
    entry = 4 + (2 if vocab <= 65_536 else 4)
    if coverage.encoding != "exact":
        return 14.0 + 2 * len(coverage.taus) + (3 if vocab <= 65_536 else 4) * k + 4 * coverage.draws
    return 24.0 + 4 * len(coverage.taus) + entry * (k + coverage.draws)


def vocabulary(teacher: Run | Pretrained | Online) -> int:
    """Entries of a teacher's distributions: the rows of its head."""
    if isinstance(teacher, Online):
        teacher = teacher.run
    if isinstance(teacher, Run):
        return teacher.student.vocab
    if teacher.shape is not None:
        return teacher.shape.vocab
    config = _config(teacher)
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 2**32)


def evaluated_tokens(evaluation: Evaluation, run: Run) -> int:
    times = 1 + (0 if evaluation.every_tokens is None else math.ceil(run.num_tokens / evaluation.every_tokens) - 1)
    return times * tokens_of(evaluation)


def sizes(run: Run) -> tuple[int, int, float]:
    """Non-embedding and total parameters, forward FLOPs per token."""
    return _shape_sizes(run.student, run.view.context)


@functools.lru_cache(maxsize=1024)
def _shape_sizes(student: Any, context: int) -> tuple[int, int, float]:
    if isinstance(student, Shape):
        counts = student.parameters()
        return counts.non_embedding, counts.total, student.forward_flops(context)
    from pdstudy.counts import counted

    numbers = counted(student, context)
    total = numbers["embedding"] + numbers["non_embedding"] + numbers["head"]
    return int(numbers["non_embedding"]), int(total), numbers["forward_flops"]


def teacher_flops(teacher: Run | Pretrained | Online) -> float:
    """Forward FLOPs per token of a pass of its own: none where it writes its logits as it trains."""
    if isinstance(teacher, Online):
        return 0.0
    return sizes(teacher)[2] if isinstance(teacher, Run) else folder_flops(teacher)


def live_flops(run: Run) -> float:
    """FLOPs per token of a teacher that runs in the step."""
    return teacher_flops(run.teacher) if run.is_live and run.teacher is not None else 0.0


def training_flops(run: Run) -> float:
    """Of the whole run, a live teacher's forwards included."""
    return (3 * sizes(run)[2] + live_flops(run)) * run.num_tokens


def folder_flops(teacher: Pretrained) -> float:
    """Forward FLOPs per token of a model folder: two per stored parameter (read off the size of its weights, or of the
    declared shape where the folder is not here yet)."""
    if teacher.shape is not None and not Path(teacher.path).expanduser().is_dir():
        return 2.0 * teacher.shape.parameters().total
    size = sum(p.stat().st_size for p in Path(teacher.path).expanduser().glob("*.safetensors"))
    config = _config(teacher)
    width = 4 if (config.get("dtype") or config.get("torch_dtype")) == "float32" else 2
    return 2.0 * size / width


def _config(teacher: Pretrained) -> dict[str, Any]:
    """What its folder says of a model; nothing where it is not here."""
    return read_json(Path(teacher.path).expanduser() / "config.json", "save the model there again") or {}


def si(number: float) -> str:
    """12_345_678 -> '12.3M'; from 1e18 on, where no letter is usual, 1.87e23."""
    if abs(number) >= 1e18:
        return f"{number:.3g}".replace("e+", "e")
    for unit, size in (("P", 1e15), ("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
