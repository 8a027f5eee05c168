"""A run: what is trained, on what, by what, for how long. Everything here is identity; placement is `Placement`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.data import Corpus, Slice, View
from pdstudy.files import content_or_name, read_json
from pdstudy.instructions import Instructions
from pdstudy.normal import Problem, declared, fingerprint, neutral
from pdstudy.objective import KD, LM, Objective, TopPK
from pdstudy.optimise import WSD, AdamW, Cosine, Schedule
from pdstudy.shapes import Shape, Student

WHOLE = 4096
"""The largest vocabulary of which a store may keep whole distributions."""


@declared
class Pretrained:
    """A causal LM in a local transformers folder. Its identity is the content of that folder, not the path.

    `loss` and `tokens` (what the model was trained on) are not known to pdstudy; studies of scaling laws give them
    as covariates. `shape` prices it, wherever the folder is (`Study.elsewhere`); it is no part of the identity.
    """

    path: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    shape: Shape | None = neutral(None)

    def content(self) -> dict[str, str | None]:
        return {"path": content_or_name((self.path,)), "shape": None}

    def check(self) -> Iterator[Problem]:
        file = Path(self.path).expanduser() / "config.json"
        if not file.is_file():
            yield Problem("path", self.path, "a transformers folder, with config.json and weights",
                          hint=f"from {Path.cwd()}", missing=True)  # fmt: skip
        elif self.shape is not None:
            config = read_json(file, "save the model there again") or {}
            for name, key in (("width", "hidden_size"), ("layers", "num_hidden_layers"), ("vocab", "vocab_size")):
                said, there = getattr(self.shape, name), config.get(key, getattr(self.shape, name))
                if said != there:
                    yield Problem(f"shape.{name}", said, f"the folder's {key}, {there}")


@declared
class Online:
    """As a teacher: what `run` says of its own training text as it trains, each token before the step that learns it.

    The paper's online logits (Peng et al. 2024, section 3.5): a moving teacher, at no pass of its own. The student's
    `data` is a window of the teacher's, which must read its text in the stream's order (`order="stream"`), so that a
    window of its training is a slice.
    """

    run: Run


@declared
class Start:
    """Initial weights from another model, as finetuning and continued training have them; the optimiser starts anew.

    `tokens`: those that `model` had after that many tokens of its training; None: at its end.
    """

    model: Run | Pretrained
    tokens: int | None = None

    def check(self) -> Iterator[Problem]:
        if self.tokens is None:
            return
        if isinstance(self.model, Pretrained):
            yield Problem("tokens", self.tokens, "None with a Pretrained model")
        elif not 0 < self.tokens <= self.model.num_tokens or self.tokens % self.model.tokens_per_step:
            yield Problem("tokens", self.tokens, f"a multiple of the model's tokens_per_step, "
                          f"{self.model.tokens_per_step}, up to its {self.model.num_tokens}")  # fmt: skip

    @property
    def step(self) -> int | None:
        """The step of `model` whose weights these are; None: its last, or those of a folder."""
        if self.tokens is None or isinstance(self.model, Pretrained) or self.tokens == self.model.num_tokens:
            return None
        return self.tokens // self.model.tokens_per_step


@declared
class Run:
    """One training run. Give `steps`, or `tokens` that `tokens_per_step` divides.

    `data` is the slice that the run reads, in an order that depends on `seed` and the step alone, or in the stream's
    own (`order`); a budget above the slice goes round it again (epochs). `seed` also sets the initial weights, but for
    a `start`. With `instructions` a share of each step holds examples of which only the responses are learned.
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
    start: Start | None = neutral(None)
    instructions: Instructions | None = neutral(None)

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
    def text_sequences_per_step(self) -> int:
        """Those of a step that are text of `data`; the others hold `instructions`."""
        taken = 0 if self.instructions is None else self.instructions.rows(self.sequences_per_step)
        return self.sequences_per_step - taken

    @property
    def epochs(self) -> float:
        return self.num_steps * self.text_sequences_per_step * self.view.context / self.data.tokens

    @property
    def is_live(self) -> bool:
        """Whether a teacher runs in the step."""
        return isinstance(self.objective, KD) and self.teacher is not None and self.objective.stored == "live"

    @property
    def teacher(self) -> Run | Pretrained | Online | None:
        """The teacher whose signal this run uses; None where alpha is 0 throughout."""
        return self.objective.teacher if isinstance(self.objective, KD) and self.objective.needs_teacher else None

    def check(self) -> Iterator[Problem]:
        context = self.view.context
        yield from self._check_length()
        for name in ("start", "tokens"):
            value = getattr(self.data, name)
            if value % context:
                near = max(name == "tokens", round(value / context))
                yield Problem(f"data.{name}", value, f"a multiple of the context, {context}",
                              hint=f"nearest: {near * context}")  # fmt: skip
        if self.data.split != "train":
            yield Problem("data.split", self.data.split, "'train': validation and test are for evaluation")
        yield from self._check_teacher()
        if self.view.documents == "respect" and isinstance(self.teacher, Run | Pretrained):
            yield Problem("view.documents", "respect", "'cross' with a teacher: its own pass attends across documents")
        if self.start is not None and isinstance(self.start.model, Run):
            yield from self._check_start(self.start.model)
        yield from self._check_size_of_store()
        if self.instructions is not None and self.teacher is not None:
            yield Problem("instructions", "with a teacher", "None, or an objective LM(): examples have no logits")
        tokenizer_vocab = self.corpus.tokenizer.vocab
        if tokenizer_vocab is not None and self.student.vocab < tokenizer_vocab:
            yield Problem("student.vocab", self.student.vocab, f"at least the tokenizer's {tokenizer_vocab}")

    def _check_length(self) -> Iterator[Problem]:
        step, context = self.tokens_per_step, self.view.context
        if (self.steps is None) == (self.tokens is None):
            yield Problem("steps", self.steps, "exactly one of steps and tokens", hint=f"tokens is {self.tokens}")
        elif self.steps is not None and self.steps < 1:
            yield Problem("steps", self.steps, "1 or more")
        elif step > 0 and self.tokens is not None and (self.tokens < 1 or self.tokens % step):
            near = max(1, round(self.tokens / step))
            yield Problem("tokens", self.tokens, f"a multiple of tokens_per_step = {step}",
                          hint=f"nearest: tokens={near * step}, or steps={near}")  # fmt: skip
        elif step > 0:
            yield from self.schedule.misfits(self.num_tokens)
        if step < 1 or step % context:
            yield Problem("tokens_per_step", step, f"a multiple of the context, {context}",
                          hint=f"nearest: {max(1, round(step / context)) * context}")  # fmt: skip

    def _check_start(self, model: Run) -> Iterator[Problem]:
        if model.student != self.student:
            yield Problem("start.model.student", model.student, "the student itself: its weights go on")
        if fingerprint(model.corpus.ids) != fingerprint(self.corpus.ids):
            yield Problem("start.model.corpus.tokenizer", model.corpus.tokenizer, "one of the same ids",
                          hint="a BPE is trained on its corpus; for another one use a PretrainedTokenizer")  # fmt: skip

    def _check_size_of_store(self) -> Iterator[Problem]:
        if not isinstance(self.objective, KD) or self.teacher is None or self.student.vocab <= WHOLE:
            return
        if self.objective.truncation == TopPK(p=1, k=None) and self.objective.stored != "live":
            yield Problem("objective.truncation", self.objective.truncation, "a cut, or stored='live'",
                          hint=f"a store would keep {self.student.vocab:,} entries per token")  # fmt: skip

    def _check_teacher(self) -> Iterator[Problem]:
        teacher = self.teacher
        if teacher is None or isinstance(teacher, Pretrained):
            return
        run = teacher.run if isinstance(teacher, Online) else teacher
        if run.corpus.tokenizer != self.corpus.tokenizer or run.corpus.sources != self.corpus.sources:
            yield Problem("objective.teacher.corpus", "another corpus", "the student's corpus and tokenizer")
        elif isinstance(teacher, Online):
            yield from self._check_window(run)
        elif run.data.overlaps(self.data):
            yield Problem("objective.teacher.data", f"[{run.data.start}, {run.data.stop})",
                          f"a slice disjoint from the student's [{self.data.start}, {self.data.stop})",
                          hint="a teacher that has seen the student's tokens gives memorised logits")  # fmt: skip
        if run.student.vocab != self.student.vocab:
            yield Problem("objective.teacher.student.vocab", run.student.vocab,
                          f"the student's vocabulary, {self.student.vocab}")  # fmt: skip
        if run.teacher is not None:
            yield Problem("objective.teacher.objective", "KD", "LM: a teacher is trained on data alone")

    def _check_window(self, teacher: Run) -> Iterator[Problem]:
        """The student's text is what the teacher reads, once, in order."""
        read = teacher.num_steps * teacher.text_sequences_per_step * teacher.view.context
        first, stop = teacher.data.start, teacher.data.start + min(teacher.data.tokens, read)
        if teacher.order != "stream":
            yield Problem("objective.teacher.run.order", teacher.order, "'stream' for online logits")
        if not first <= self.data.start <= self.data.stop <= stop:
            yield Problem("data", f"[{self.data.start}, {self.data.stop})",
                          f"a window of what the teacher reads, [{first}, {stop})")  # fmt: skip
        if self.is_live:
            yield Problem("objective.stored", "live", "'exact' or 'coded' with online logits, which are a store")
        if teacher.view != self.view:
            yield Problem("objective.teacher.run.view", teacher.view, f"the student's, {self.view}")


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
    own; `read_ahead` is how many steps a thread reads ahead (None: 2 for a CUDA device, unless a step is large as a
    whole, else 0; a step that was read is kept in memory until it is used); `replicas` copies of the model are each
    sharded over the ranks of one copy (1: sharded over all ranks).
    """

    micro_batch_tokens: int | None = None
    threads: int = 1
    save_minutes: float = 5.0
    activation_checkpointing: bool = False
    compile: bool = False
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    read_ahead: int | None = None
    replicas: int = 1

    def check(self) -> Iterator[Problem]:
        for name in ("micro_batch_tokens", "threads", "save_minutes", "replicas"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield Problem(name, value, "above 0")
        if self.read_ahead is not None and self.read_ahead < 0:
            yield Problem("read_ahead", self.read_ahead, "0 or more")


def normal_form(run: Run) -> Run:
    """The run with all that cannot affect its result put to one form: KD at alpha 0 is LM, a token budget is steps."""
    start = run.start
    if start is not None and isinstance(start.model, Run):
        at = None if start.step is None else start.tokens
        start = Start(model=normal_form(start.model), tokens=at)
    objective = _normal_objective(run.objective)
    return dataclasses.replace(run, objective=objective, steps=run.num_steps, tokens=None, start=start)


@functools.lru_cache(maxsize=4096)
def _normal_objective(objective: Objective) -> Objective:
    if not isinstance(objective, KD):
        return objective
    if not objective.needs_teacher:
        return LM()
    return dataclasses.replace(objective, teacher=normal_teacher(objective.teacher))


def normal_teacher(teacher: Run | Pretrained | Online) -> Run | Pretrained | Online:
    """`normal_form` of whatever teaches."""
    if isinstance(teacher, Online):
        return Online(run=normal_form(teacher.run))
    return normal_form(teacher) if isinstance(teacher, Run) else teacher


__all__ = [
    "WSD",
    "AdamW",
    "Cosine",
    "Heldout",
    "Online",
    "Placement",
    "Pretrained",
    "Run",
    "Schedule",
    "Shape",
    "Start",
    "Student",
    "normal_form",
]
