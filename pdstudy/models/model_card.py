"""The model card of an exported model: what it was trained on, by what, its losses; the licence is its user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pdstudy.config.data import Corpus, Mixture
from pdstudy.config.run import KD, Online, Pretrained, Run
from pdstudy.config.text_sources import HubDataset, LocalFiles, Packaged, StandardLibrary
from pdstudy.config.tokenised import Tokenised


def model_card(run: Run, key: str, steps: int, parameters: int, evals: Sequence[dict[str, Any]]) -> str:
    """README.md of a model after `steps` steps, as the hub reads it; `evals` are the rows of its final evaluations.

    The licence is left to the user: what text and teacher allow is not known here. Folders and files are named without
    their path, which says things of a machine and not of a model.
    """
    objective = run.objective
    distilled = isinstance(objective, KD) and run.teacher is not None
    trained = "distilled from a teacher while it was pre-trained" if distilled else "pre-trained"
    names = [source.name for source in _sources(run.corpus) if isinstance(source, HubDataset)]
    datasets = "".join(f"\n- {name}" for name in dict.fromkeys(names))
    text = f"{steps * run.tokens_per_step:,} tokens ({steps:,} steps of {run.tokens_per_step:,}, context "
    rows = "".join(
        f"| {row['split']} | {row['loss']:.4f} | {row['bits_per_byte']:.4f} | {row['tokens_scored']:,} |\n"
        for row in evals
    )
    losses = f"""
| held-out split | nats per token | bits per byte | tokens |
|---|---|---|---|
{rows}"""
    return f"""---
# license: yours to choose; mind those of the text and of the teacher
library_name: transformers
pipeline_tag: text-generation
tags:
- pdstudy
- {"distillation" if distilled else "pre-training"}{datasets and f"{chr(10)}datasets:{datasets}"}
---
# {parameters:,} parameters, {trained}

A research model made by pdstudy, run `{key}`. It read {text}{run.view.context}) of the text below.

**Text.** {"; ".join(dict.fromkeys(map(_source_words, _sources(run.corpus))))}.

**Objective.** {_objective_words(run)}

**Optimisation.** AdamW, peak learning rate {run.optimiser.lr:g}, schedule `{run.schedule}`, {run.precision}, seed
{run.seed}.
{losses if rows else ""}
It is meant for comparisons with models of the same study. It is not instruction-tuned, and nothing was done about what
it may say. `config.json` of the run directory has the whole declaration.
"""


def _objective_words(run: Run) -> str:
    objective = run.objective
    if not isinstance(objective, KD) or run.teacher is None:
        return "The plain language-modelling loss."
    parts = {"alpha": objective.alpha, "divergence": objective.loss, "teacher's distribution": objective.truncation,
             "temperature": objective.temperature}  # fmt: skip
    words = ", ".join(f"{name} `{part}`" for name, part in parts.items())
    return f"(1 - alpha) L_lm + alpha L_kd with {words}. The teacher is {_teacher_words(run.teacher)}."


def _teacher_words(teacher: Run | Pretrained | Online) -> str:
    if isinstance(teacher, Pretrained):
        return f"`{teacher.known_as or Path(teacher.path).name}`"
    run, live = (teacher.run, " and read along with the student") if isinstance(teacher, Online) else (teacher, "")
    return f"a model of the same study, trained on {run.num_tokens:,} tokens{live}"


def _sources(corpus: Corpus) -> Iterator[Any]:
    """The plain sources of a corpus, those of a mixture one by one."""
    for source in corpus.sources:
        if isinstance(source, Mixture):
            yield from (part for part, _ in source.parts)
        else:
            yield source


def _source_words(source: Any) -> str:
    if isinstance(source, HubDataset):
        subset = f", {source.subset}" if source.subset else ""
        return f"the data set {source.name}{subset}, {source.split} split, revision {source.revision}"
    if isinstance(source, LocalFiles):
        return f"local files {_names(source.paths)}"
    if isinstance(source, Tokenised):
        return f"local tokens {_names([source.path])} ({type(source.format).__name__})"
    if isinstance(source, StandardLibrary):
        return f"Python's standard library, {source.python}"
    assert isinstance(source, Packaged)
    return f"the packaged text {source.name}"


def _names(paths: Iterable[str]) -> str:
    return ", ".join(f"`{Path(path).name}`" for path in paths)
