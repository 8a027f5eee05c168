"""Finetuning: a stage between training and downstream tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from pdstudy.config.data import Slice
from pdstudy.config.instructions import Instructions
from pdstudy.config.optimizer import AdamW, Schedule
from pdstudy.config.run import LM, Run, Start
from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem


@declared
class Finetuning:
    """Training that goes on from a model, on examples and text: an ordinary run with a `Start`, made by `of`.

    `tokens` in all, in steps of the size that the model was trained with. The share `instructions.share` of each step
    holds examples (Peng et al. 2024, section 3.1: half of 20B tokens), the rest the text of `data`, the same for every
    model. The loss is that of LM whatever the model was trained with; student, corpus, context, precision and seed are
    the model's own.
    Within a sequence examples and documents do not see each other, unless `documents` is "cross".
    """

    instructions: Instructions
    data: Slice
    tokens: int
    optimiser: AdamW
    schedule: Schedule
    documents: Literal["cross", "respect"] = "respect"

    def check(self) -> Iterator[Problem]:
        if self.tokens < 1:
            yield Problem("tokens", self.tokens, "1 or more")

    def of(self, run: Run, tokens: int | None = None) -> Run:
        """The run that finetunes the model which `run` had after `tokens` of its training (None: its last)."""
        return dataclasses.replace(
            run,
            start=Start(model=run, tokens=tokens),
            instructions=self.instructions,
            data=self.data,
            objective=LM(),
            optimiser=self.optimiser,
            schedule=self.schedule,
            view=dataclasses.replace(run.view, documents=self.documents),
            order="shuffled",
            z_loss=0.0,
            steps=None,
            tokens=self.tokens,
        )
