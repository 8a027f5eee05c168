"""Evaluations of a run while it trains and at its end. Carried out by `pdstudy.evaluate`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pdstudy.config.data import Corpus, Slice, View
from pdstudy.config.instructions import Instructions
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem


@declared
class Heldout:
    """Loss on a held-out slice: nats per token and bits per byte, at the end and every `every_tokens` of training.

    With `corpus` the slice is of that corpus, of the same tokenizer (such as one of `Corpus.parts`): a loss out of
    domain beside that in it. It is the column `NAME_SPLIT_loss` of results; by default it is named after its sources.
    """

    data: Slice
    every_tokens: int | None = None
    corpus: Corpus | None = neutral(None)
    name: str | None = neutral(None)

    def content(self) -> dict[str, None]:
        return {"name": None}

    def check(self) -> Iterator[Problem]:
        if self.data.split == "train":
            yield Problem("data.split", "train", "'validation' or 'test'")
        if self.every_tokens is not None and self.every_tokens < 1:
            yield Problem("every_tokens", self.every_tokens, "1 or more, or None for the end only")
        if self.name is not None and self.corpus is None:
            yield Problem("name", self.name, "None without a corpus: the column is that of the split")
        elif self.name is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", self.name):
            yield Problem("name", self.name, "letters, digits, '.' and '-'")


@declared
class Probe:
    """A closer look at a few held-out tokens (2,048 or more): columns of evals.jsonl beside those of `Heldout`.

    Of a run with a teacher, or with the one named here: `teacher_loss` on the data; `kl` and `reverse_kl` (nats per
    token) to its full distribution, KL(p || q) and KL(q || p); `agreement`, the share of tokens with the same most
    probable id; `ece_teacher`, as `ece` but with the teacher's probability of the student's most probable id in the
    place of hits. Of a distilled run `kept_entries` and `kept_mass` per token, of its own truncation, and
    `gradient_angle` (degrees) and `gradient_ratio` (of norms) of the trunk's gradient by its own distillation term to
    that by full distillation, over 2,048 tokens.
    """

    data: Slice
    every_tokens: int | None = None
    teacher: Run | Pretrained | None = None

    def check(self) -> Iterator[Problem]:
        yield from Heldout(data=self.data, every_tokens=self.every_tokens).check()


@declared
class HeldoutResponses:
    """Loss on the responses of examples that `instructions` holds out: a row like that of `Heldout`, nats per token
    of responses, `split` "responses".

    The examples come in the order of their hashes, packed to the run's context, each seeing itself alone whatever the
    run's view says. `tokens` bounds what is read of them, prompts included.
    """

    instructions: Instructions
    tokens: int
    every_tokens: int | None = None

    def check(self) -> Iterator[Problem]:
        if self.tokens < 1:
            yield Problem("tokens", self.tokens, "1 or more")
        if self.every_tokens is not None and self.every_tokens < 1:
            yield Problem("every_tokens", self.every_tokens, "1 or more, or None for the end only")


@declared
class TeacherText:
    """A teacher from a folder and the text that it is scored on, cut to `view` as for its students: the identity of
    its held-out losses."""

    teacher: Pretrained
    corpus: Corpus
    view: View


Evaluation = Heldout | Probe | HeldoutResponses


def text_of(evaluation: Evaluation) -> Slice | None:
    """The slice that is scored; None where examples are."""
    return None if isinstance(evaluation, HeldoutResponses) else evaluation.data


def split_of(evaluation: Evaluation) -> str:
    """The `split` of its rows in evals.jsonl: "validation", "test" or "responses", or those of another corpus
    after its name."""
    if isinstance(evaluation, HeldoutResponses):
        return "responses"
    other = corpus_of(evaluation)
    if other is None:
        return evaluation.data.split
    name = evaluation.name if isinstance(evaluation, Heldout) else None
    return f"{name or re.sub('[^A-Za-z0-9.+-]+', '-', other.label)}_{evaluation.data.split}"


def corpus_of(evaluation: Evaluation) -> Corpus | None:
    """The corpus that is scored, where it is not that of the run."""
    return evaluation.corpus if isinstance(evaluation, Heldout) else None


def tokens_of(evaluation: Evaluation) -> int:
    """Tokens read per evaluation, at most."""
    return evaluation.tokens if isinstance(evaluation, HeldoutResponses) else evaluation.data.tokens


def probe_teacher(evaluation: Evaluation, run: Run) -> Run | Pretrained | None:
    """The teacher that a probe of `run` compares with, at its end: none of a run with itself."""
    if not isinstance(evaluation, Probe):
        return None
    teacher = evaluation.teacher or run.teacher
    if isinstance(teacher, Online):
        teacher = teacher.run
    if isinstance(teacher, Run):
        teacher = normal_form(teacher)
        return None if teacher == normal_form(run) else teacher
    return teacher
