"""A run: what is trained, on what, by what, for how long. Everything here is identity; placement is `Placement`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.data import Corpus, Slice, View
from pdstudy.files import content_hash
from pdstudy.mixing import decayed
from pdstudy.normal import Problem, declared, neutral
from pdstudy.objective import KD, LM, Objective, TopPK
from pdstudy.shapes import Shape, Student

WHOLE = 4096
"""The largest vocabulary of which a store may keep whole distributions."""


@declared
class AdamW:
    """Decoupled weight decay on matrices only; `clip` bounds the global gradient norm. `lr` is the peak."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0

    def check(self) -> Iterator[Problem]:
        if self.lr <= 0:
            yield Problem("lr", self.lr, "above 0")
        for i, beta in enumerate(self.betas):
            if not 0 <= beta < 1:
                yield Problem(f"betas[{i}]", beta, "0 <= beta < 1")
        if self.clip <= 0:
            yield Problem("clip", self.clip, "above 0")
        if self.weight_decay < 0:
            yield Problem("weight_decay", self.weight_decay, "0 or more")


@declared
class Cosine:
    """Linear warm-up over `warmup_tokens`, then a half cosine down to `final` times the peak at the run's end."""

    warmup_tokens: int
    final: float = 0.1

    def check(self) -> Iterator[Problem]:
        if self.warmup_tokens < 0:
            yield Problem("warmup_tokens", self.warmup_tokens, "0 or more")
        if not 0 <= self.final <= 1:
            yield Problem("final", self.final, "0 to 1 (a share of the peak)")

    def factor(self, tokens: float, total: int) -> float:
        """Learning rate over its peak after `tokens` of `total`. A step takes it at the middle of its own tokens."""
        if tokens < self.warmup_tokens:
            return tokens / self.warmup_tokens
        done = (tokens - self.warmup_tokens) / max(1, total - self.warmup_tokens)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@declared
class WSD:
    """Warm-up, stable, decay: constant until `decay_tokens` before the end, then down in the given shape.

    With u the share of the decay that is done: 1 - u, half a cosine, 1 - sqrt(u) and 0.5^(10 u), the same as those of
    `WSDMix`. 1 - sqrt is the best of the shapes compared by Haegele et al. 2024 (arXiv 2405.18392). Exponential is
    MiniCPM's 0.5^(s / T) (arXiv 2404.06395) with a half-life T of a tenth of the decay: it ends at 1/1024 of the peak,
    the others at 0. Megatron-LM's shape of that name, 2 x 0.5^u - 1, is another.
    """

    warmup_tokens: int
    decay_tokens: int
    shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "1-sqrt"

    def check(self) -> Iterator[Problem]:
        for name in ("warmup_tokens", "decay_tokens"):
            if getattr(self, name) < 0:
                yield Problem(name, getattr(self, name), "0 or more")

    def factor(self, tokens: float, total: int) -> float:
        """Learning rate over its peak after `tokens` of `total`. A step takes it at the middle of its own tokens."""
        if tokens < self.warmup_tokens:
            return tokens / self.warmup_tokens
        start = total - self.decay_tokens
        if tokens < start or self.decay_tokens == 0:
            return 1.0
        return decayed(self.shape, (tokens - start) / self.decay_tokens)


Schedule = Cosine | WSD


@declared
class Pretrained:
    """A causal LM in a local transformers folder. Its identity is the content of that folder, not the path.

    `loss` and `tokens` (what the model was trained on) are not known to pdstudy; studies of scaling laws give them
    as covariates.
    """

    path: str
    dtype: Literal["float32", "bfloat16"] = "float32"

    def content(self) -> dict[str, str]:
        return {"path": content_hash((self.path,))}

    def check(self) -> Iterator[Problem]:
        if not (Path(self.path).expanduser() / "config.json").is_file():
            yield Problem("path", self.path, "a transformers folder, with config.json and weights",
                          hint=f"from {Path.cwd()}")  # fmt: skip


@declared
class Run:
    """One training run. Give `steps`, or `tokens` that `tokens_per_step` divides.

    `data` is the slice that the run reads, in an order that depends on `seed` and the step alone, or in the stream's
    own (`order`); a budget above the slice goes round it again (epochs). `seed` also sets the initial weights.
    """

    student: Student
    corpus: Corpus
    data: Slice
    view: View
    objective: Objective = LM()
    optimiser: AdamW
    schedule: Schedule
    tokens_per_step: int
    steps: int | None = None
    tokens: int | None = None
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    order: Literal["shuffled", "stream"] = neutral("shuffled")

    @property
    def num_steps(self) -> int:
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None
        return self.tokens // self.tokens_per_step

    @property
    def num_tokens(self) -> int:
        return self.num_steps * self.tokens_per_step

    @property
    def sequences_per_step(self) -> int:
        return self.tokens_per_step // self.view.context

    @property
    def epochs(self) -> float:
        return self.num_tokens / self.data.tokens

    @property
    def is_live(self) -> bool:
        """Whether a teacher runs in the step."""
        return isinstance(self.objective, KD) and self.teacher is not None and self.objective.stored == "live"

    @property
    def teacher(self) -> Run | Pretrained | None:
        """The teacher whose signal this run uses; None where alpha is 0 throughout."""
        return self.objective.teacher if isinstance(self.objective, KD) and self.objective.needs_teacher else None

    def check(self) -> Iterator[Problem]:
        context = self.view.context
        if (self.steps is None) == (self.tokens is None):
            yield Problem("steps", self.steps, "exactly one of steps and tokens", hint=f"tokens is {self.tokens}")
        elif self.steps is not None and self.steps < 1:
            yield Problem("steps", self.steps, "1 or more")
        elif self.tokens is not None and (self.tokens < 1 or self.tokens % max(1, self.tokens_per_step)):
            near = max(1, round(self.tokens / max(1, self.tokens_per_step)))
            yield Problem("tokens", self.tokens, f"a multiple of tokens_per_step = {self.tokens_per_step}",
                          hint=f"nearest: tokens={near * self.tokens_per_step}, or steps={near}")  # fmt: skip
        if self.tokens_per_step < 1 or self.tokens_per_step % context:
            yield Problem("tokens_per_step", self.tokens_per_step, f"a multiple of the context, {context}")
        for name in ("start", "tokens"):
            value = getattr(self.data, name)
            if value % context:
                near = max(name == "tokens", round(value / context))
                yield Problem(f"data.{name}", value, f"a multiple of the context, {context}",
                              hint=f"nearest: {near * context}")  # fmt: skip
        if self.data.split != "train":
            yield Problem("data.split", self.data.split, "'train': validation and test are for evaluation")
        teacher = self.teacher
        if isinstance(teacher, Run):
            if teacher.corpus.tokenizer != self.corpus.tokenizer or teacher.corpus.sources != self.corpus.sources:
                yield Problem("objective.teacher.corpus", "another corpus", "the student's corpus and tokenizer")
            elif teacher.data.overlaps(self.data):
                yield Problem("objective.teacher.data", f"[{teacher.data.start}, {teacher.data.stop})",
                              f"a slice disjoint from the student's [{self.data.start}, {self.data.stop})",
                              hint="a teacher that has seen the student's tokens gives memorised logits")  # fmt: skip
            if teacher.student.vocab != self.student.vocab:
                yield Problem("objective.teacher.student.vocab", teacher.student.vocab,
                              f"the student's vocabulary, {self.student.vocab}")  # fmt: skip
            if teacher.teacher is not None:
                yield Problem("objective.teacher.objective", "KD", "LM: a teacher is trained on data alone")
        yield from self._check_size_of_store()
        tokenizer_vocab = getattr(self.corpus.tokenizer, "vocab", None)
        if tokenizer_vocab is not None and self.student.vocab < tokenizer_vocab:
            yield Problem("student.vocab", self.student.vocab, f"at least the tokenizer's {tokenizer_vocab}")

    def _check_size_of_store(self) -> Iterator[Problem]:
        if not isinstance(self.objective, KD) or self.teacher is None or self.student.vocab <= WHOLE:
            return
        if self.objective.truncation == TopPK(p=1, k=None) and self.objective.stored != "live":
            yield Problem("objective.truncation", self.objective.truncation, "a cut, or stored='live'",
                          hint=f"a store would keep {self.student.vocab:,} entries per token")  # fmt: skip


@declared
class Heldout:
    """Loss on a held-out slice: nats per token and bits per byte, at the end and every `every_tokens` of training."""

    data: Slice
    every_tokens: int | None = None

    def check(self) -> Iterator[Problem]:
        if self.data.split == "train":
            yield Problem("data.split", "train", "'validation' or 'test'")
        if self.every_tokens is not None and self.every_tokens < 1:
            yield Problem("every_tokens", self.every_tokens, "1 or more, or None for the end only")


@declared
class Placement:
    """How a run is carried out on a machine. Never part of its identity.

    `micro_batch_tokens` bounds the tokens of one forward pass per rank (None: all that the rank has of a step);
    `threads` are torch's intra-op threads on a CPU; `save_minutes` is the time between checkpoints for resuming;
    `activation_checkpointing` recomputes each block in the backward pass (less memory, a third more computation);
    `compile` compiles each block; `attention` "auto" is flash attention where it is installed and fits, else torch's
    own; `read_ahead` is how many steps a thread reads ahead; `replicas` copies of the model are each sharded over the
    ranks of one copy (1: sharded over all ranks).
    """

    micro_batch_tokens: int | None = None
    threads: int = 1
    save_minutes: float = 5.0
    activation_checkpointing: bool = False
    compile: bool = False
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    read_ahead: int = 0
    replicas: int = 1

    def check(self) -> Iterator[Problem]:
        for name in ("micro_batch_tokens", "threads", "save_minutes", "replicas"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield Problem(name, value, "above 0")
        if self.read_ahead < 0:
            yield Problem("read_ahead", self.read_ahead, "0 or more")


def normal_form(run: Run) -> Run:
    """The run with all that cannot affect its result put to one form: KD at alpha 0 is LM, a token budget is steps."""
    return dataclasses.replace(run, objective=_normal_objective(run.objective), steps=run.num_steps, tokens=None)


@functools.lru_cache(maxsize=4096)
def _normal_objective(objective: Objective) -> Objective:
    if not isinstance(objective, KD):
        return objective
    if not objective.needs_teacher:
        return LM()
    teacher = normal_form(objective.teacher) if isinstance(objective.teacher, Run) else objective.teacher
    return dataclasses.replace(objective, teacher=teacher)


__all__ = [
    "WSD",
    "AdamW",
    "Cosine",
    "Heldout",
    "Placement",
    "Pretrained",
    "Run",
    "Schedule",
    "Shape",
    "Student",
    "normal_form",
]
