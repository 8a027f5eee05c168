"""Students of other families through the whole of a run: documents kept apart, interrupted, scored, exported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.model import TransformersConfig
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED
from pdstudy.evaluate.heldout import evaluate
from pdstudy.evaluate.heldout_data import held_out
from pdstudy.models.build_model import build_model, load_exported, start_from
from pdstudy.train.loop import train
from pdstudy.workspace.run_dir import RunDir
from tests.models.families import FAMILIES
from tests.train import ranks
from tests.train.one_run import job_of, train_run

CASES: dict[str, dict[str, Any]] = {
    "mistral": {},
    "gemma2": {"initializer_range": 0.1},
    "gemma3_text": {"final_logit_softcapping": 5.0, "initializer_range": 0.002},
    "phi": {},
    "gpt2": {},
    "cohere": {"initializer_range": 0.3},
    "mixtral": {"router_aux_loss_coef": 0.1},
    "gpt_oss": {},
    "opt": {},
}


def run_of(small_run: Run, family: str, **changed: Any) -> Run:
    settings = {**FAMILIES[family], **CASES.get(family, {})}
    student = TransformersConfig(model_type=family, settings=tuple(settings.items()), vocab=512)
    view = dataclasses.replace(small_run.view, documents="respect")
    return dataclasses.replace(small_run, student=student, view=view, **changed)


def rows(directory: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("family", CASES)
def test_the_export_of_a_run_has_the_loss_that_the_run_says(
    family: str, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    run = run_of(small_run, family)
    heldout = Heldout(data=Slice(tokens=64 * 10, split="validation"))
    directory = RunDir(tmp_path / "run")
    stops = iter([False, False, True])
    assert (
        train_run(run, directory, corpus=corpus, evaluations=(heldout,), should_stop=lambda: next(stops)) == "stopped"
    )
    assert train_run(run, directory, corpus=corpus, evaluations=(heldout,)) == "done"
    straight = RunDir(tmp_path / "straight")
    train_run(run, straight, corpus=corpus, evaluations=(heldout,))
    assert [row["loss"] for row in rows(directory)] == [row["loss"] for row in rows(straight)]

    said = directory.result()["evals"][0]["loss"]
    text = held_out(heldout, run.view, corpus)
    assert evaluate(load_exported(directory.model), text)["loss"] == pytest.approx(said, rel=1e-5)
    # As transformers alone would have it: each document by itself.
    model = AutoModelForCausalLM.from_pretrained(directory.model).eval()
    batch = text.read(np.arange(text.count))
    total, count = 0.0, 0
    with torch.no_grad():
        for inputs, targets, documents in zip(batch.inputs, batch.targets, batch.documents, strict=True):
            for document in np.unique(documents):
                ids, gold = (torch.from_numpy(x[documents == document]) for x in (inputs, targets))
                logits = model(input_ids=ids[None]).logits[0]
                total += F.cross_entropy(logits, gold, ignore_index=IGNORED, reduction="sum").item()
                count += int((gold != IGNORED).sum())
    assert total / count == pytest.approx(said, rel=1e-5)

    again = build_model(run.student, seed=5, attention="eager")
    start_from(again, directory.model, corpus.vocab)
    ids = torch.from_numpy(batch.inputs[:1])
    mine, theirs = (m(input_ids=ids).logits[..., : corpus.vocab] for m in (again.eval(), model))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["phi", "gemma2", "mixtral"])
def test_sharding_and_checkpointing_activations_change_rounding_alone(
    family: str, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    run = run_of(small_run, family)
    losses = []
    for name, placement in {
        "plain": Placement(),
        "small": Placement(micro_batch_tokens=small_run.view.context),
        "checkpointed": Placement(activation_checkpointing=True),
    }.items():
        directory = RunDir(tmp_path / name)
        train_run(run, directory, corpus=corpus, placement=placement)
        losses.append([row["loss"] for row in rows(directory)])
    shared = RunDir(tmp_path / "shared")
    ranks.run(2, train, job_of(run, shared, corpus))
    losses.append([row["loss"] for row in rows(shared)])
    half = RunDir(tmp_path / "half")
    train_run(dataclasses.replace(run, precision="bfloat16"), half, corpus=corpus)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)
    assert losses[3] == pytest.approx(losses[0], rel=1e-4)
    assert [row["loss"] for row in rows(half)] == pytest.approx(losses[0], rel=0.02)
