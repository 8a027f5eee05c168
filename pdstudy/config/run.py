"""A run: student, text, objective, optimiser and length. Everything here is identity; placement is `Placement`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pdstudy.config.alpha import ByConfidence, Everywhere, Mix, Routed, Steady, TokenRule, absent
from pdstudy.config.data import SEEDS, Corpus, Slice, View
from pdstudy.config.instructions import Instructions
from pdstudy.config.loss_combinations import undefined
from pdstudy.config.losses import NLL, AnyTemperature, Divergence, Plain, Renormalise, Rest, Temperature
from pdstudy.config.model import Shape, Student
from pdstudy.config.model_folder import check_folder, check_shape, check_start, check_weights, model_identity
from pdstudy.config.optimizer import AdamW, Schedule
from pdstudy.config.truncation import WHOLE, Sampled, TopPK, Truncation
from pdstudy.core.identity import declared, fingerprint, neutral
from pdstudy.core.validation import Problem


@declared
class LM:
    """Cross-entropy on the data alone: alpha = 0."""


@declared
class Pretrained:
    """A causal LM in a local transformers folder. Its identity is weights, config and tokenizer there, not the path.

    `shape` prices it, wherever the folder is (`Study.elsewhere`). `known_as` is set by plans: the identity that it has
    had in a workspace (`pdstudy.plan.known_models`).
    """

    path: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    shape: Shape | None = neutral(None)
    known_as: str | None = neutral(None)

    def content(self) -> dict[str, str | None]:
        return {"path": self.known_as or model_identity(self.path), "shape": None, "known_as": None}

    def check(self) -> Iterator[Problem]:
        yield from check_weights(self.path)
        if self.shape is not None:
            yield from check_shape(self.path, self.shape)


@declared
class Online:
    """Online logits: the distributions of `run` over its own training text, each before the step that learns it.

    Peng et al. 2024, section 3.5: a moving teacher that needs no inference of its own. The student's `data` is a window
    of the teacher's, which must read it in the stream's order, `order="stream"`: a window of training is then a slice.
    """

    run: Run


@declared
class Start:
    """Initial weights from another model, for finetuning and continued training; the optimiser starts anew.

    `tokens` of its training after which `model` gives them (None: all).
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
class KD:
    """Distillation: L = (1 - alpha) L_lm + alpha L_kd, with a teacher's truncated distribution, nats per token.

    `alpha` is the share of distillation; at 0 the run is the LM run, and teacher and all else are left out of its
    identity. The best static value of Peng et al. 2024 is 0.9 (Table 4); 1 is their "vanilla" distillation. `rest` is
    the treatment of the mass outside the kept ids; `mix` is the schedule of alpha over training, `tokens` its weight
    from token to token.

    `stored`: "exact" keeps float32 in the store, "coded" a third of the bytes, at an error that the store knows, far
    below that of a truncation, but with another number in every target. "live" is no store: the teacher runs, without
    gradients, on each micro-batch, its head applied to a chunk of positions at a time. Every run then pays for the
    teacher's forward; it is the place for TopPK(p=1, k=None), the whole distribution.
    """

    teacher: Run | Pretrained | Online
    truncation: Truncation = TopPK()
    temperature: AnyTemperature = Temperature()
    loss: Divergence = NLL()
    alpha: float = 0.9
    rest: Rest = neutral(Renormalise())
    mix: Mix = neutral(Steady())
    tokens: TokenRule = neutral(Everywhere())
    stored: Literal["exact", "coded", "live"] = neutral("exact")

    def check(self) -> Iterator[Problem]:
        if not 0 <= self.alpha <= 1:
            yield Problem("alpha", self.alpha, "0 to 1")
        yield from undefined(self.rest, self.temperature, self.loss)
        if self.stored == "live" and isinstance(self.tokens, Routed):
            yield Problem("tokens", self.tokens, "no Routed with stored='live'",
                          hint="its threshold is a quantile of the slice, which only a store knows")  # fmt: skip
        if isinstance(self.truncation, Sampled):
            yield from self._check_sampled(self.truncation)

    def _check_sampled(self, truncation: Sampled) -> Iterator[Problem]:
        hint = "draws estimate p itself: nothing but its cross-entropy is linear in them"
        if self.temperature != Temperature():
            yield Problem("temperature", self.temperature, "Temperature(tau=1) with Sampled", hint=hint)
        if not isinstance(self.loss, NLL):
            yield Problem("loss", self.loss, "NLL() with Sampled", hint=hint)
        if not isinstance(self.rest, Renormalise | Plain):
            yield Problem("rest", self.rest, "Renormalise() or Plain() with Sampled: draws leave no rest")
        if truncation.exponent != 1 and self.stored == "coded":
            yield Problem("stored", self.stored, "'exact' or 'live' with draws of another exponent than 1")
        if isinstance(self.tokens, ByConfidence):
            yield Problem("tokens", self.tokens, "ByEntropy or Routed with Sampled, which keeps no ranks")

    @property
    def needs_teacher(self) -> bool:
        return self.alpha > 0 and not absent(self.mix)


Objective = LM | KD


@declared
class Run:
    """One training run, of `steps` or of `tokens` that `tokens_per_step` divides.

    `data` is the slice that the run reads, in an order that depends on `seed` and the step alone, or in the stream's
    own (`order`); a budget above the slice repeats it (epochs). `seed` also sets the initial weights, unless `start`
    does. With `instructions` a share of each step holds examples of which only the responses are learned.

    `z_loss` is the weight of (log Z)^2 per token, Z the sum of exponentials of the student's logits, whatever the
    objective and alpha, so that all arms can share it: PaLM (arXiv 2204.02311) has 1e-4, OLMo 2 1e-5. It is in the
    `loss` of metrics, not in `lm` and `kd`.
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
    z_loss: float = neutral(0.0)

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
        """Sequences of a step that are text of `data`; the others hold `instructions`."""
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
            yield Problem("view.documents", "respect", "'cross' with a teacher, which attends across documents")
        if self.z_loss < 0:
            yield Problem("z_loss", self.z_loss, "0 or more")
        if self.start is not None:
            yield from self._check_start(self.start.model)
        yield from self._check_size_of_store()
        if self.instructions is not None and self.teacher is not None:
            yield Problem("instructions", "with a teacher", "None, or an objective LM(): examples have no logits")
        if self.student.vocab < (ids := self.corpus.own_tokenizer.vocab or 0):
            yield Problem("student.vocab", self.student.vocab, f"at least the tokenizer's {ids}")
        if not 0 <= self.seed < SEEDS:
            yield Problem("seed", self.seed, f"0 or more, and below {SEEDS:,}")

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

    def _check_start(self, model: Run | Pretrained) -> Iterator[Problem]:
        if isinstance(model, Pretrained):
            yield from (p.below("start.model") for p in check_start(model.path, self.student, self.corpus))
            return
        if model.student != self.student:
            yield Problem("start.model.student", model.student, "the student itself: its weights go on")
        if fingerprint(model.corpus.ids) != fingerprint(self.corpus.ids):
            yield Problem("start.model.corpus.tokenizer", model.corpus.tokenizer, "one of the same ids",
                          hint="a BPE is trained on its corpus; for another one use a PretrainedTokenizer")  # fmt: skip

    def _check_size_of_store(self) -> Iterator[Problem]:
        if not isinstance(self.objective, KD) or self.teacher is None:
            return
        cut, vocab = self.objective.truncation, self.student.vocab
        if isinstance(cut, TopPK) and (cut.k or 0) > vocab:
            yield Problem("objective.truncation.k", cut.k, f"at most the vocabulary's {vocab}, or None for all")
        if vocab > WHOLE and cut == TopPK(p=1, k=None) and self.objective.stored != "live":
            yield Problem("objective.truncation", cut, "a cut, or stored='live'", hint=f"it keeps {vocab:,} a token")

    def _check_teacher(self) -> Iterator[Problem]:
        teacher = self.teacher
        if isinstance(teacher, Pretrained):
            yield from (p.below("objective.teacher") for p in check_folder(teacher.path, self.corpus, self.view))
        if teacher is None or isinstance(teacher, Pretrained):
            return
        run = teacher.run if isinstance(teacher, Online) else teacher
        if run.corpus.tokenizer != self.corpus.tokenizer or run.corpus.sources != self.corpus.sources:
            yield Problem("objective.teacher.corpus", "another corpus", "the student's corpus and tokenizer")
        elif isinstance(teacher, Online):
            yield from self._check_window(run)
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
