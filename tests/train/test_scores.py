"""Columns of a held-out evaluation against dense float64 references."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from pdstudy.config.data import Slice, View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import LM, Run
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.micro_batch import make_micro_batch
from pdstudy.evaluate.heldout import evaluate
from pdstudy.evaluate.heldout_data import held_out
from pdstudy.evaluate.metrics import Scores, calibration_error, confidence_bins
from pdstudy.models.build_model import build_model

HELDOUT = Heldout(data=Slice(tokens=64 * 21, split="validation"))


@pytest.fixture(scope="module", params=["cross", "respect"])
def scored(request: pytest.FixtureRequest, small_run: Run, corpus: TokenCorpus):
    """A model with confident, partly right predictions; what `evaluate` says; dense logits and targets."""
    run = dataclasses.replace(small_run, view=dataclasses.replace(small_run.view, documents=request.param))
    model = build_model(run.student, seed=1)
    kept: dict[str, bytes] = {}
    train = read_batch(corpus.stream("train"), run.view, np.arange(64))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        loss, _ = model.distillation_loss(
            make_micro_batch(train, np.arange(64)), objective=LM(), alpha=0.0, divisor=64 * 64, vocab=corpus.vocab
        )
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        model.model.norm.weight *= 1.7  # overconfident
        batch = read_batch(corpus.stream("validation"), run.view, np.arange(21))
        whole = make_micro_batch(batch, np.arange(21))
        text = held_out(HELDOUT, run.view, corpus)
        row = evaluate(model, text, batch_tokens=64 * 5, keep=lambda key, table: kept.update({key: table}))
        assert row["sequences_sha256"] == hashlib.sha256(kept[row["eval"]]).hexdigest()
        parts = [
            model.distillation_loss(
                make_micro_batch(batch, np.arange(i, min(i + 5, 21))), objective=LM(), alpha=0.0, divisor=1.0,
                vocab=corpus.vocab,
            )[1]["lm"]
            for i in range(0, 21, 5)
        ]  # fmt: skip
        logits = model(
            input_ids=whole.inputs, attention_mask=whole.mask, position_ids=whole.positions, use_cache=False
        ).logits[..., : corpus.vocab]
    table = np.load(io.BytesIO(kept[row["eval"]]), allow_pickle=False)
    row |= {"table": table, "token_bytes": corpus.token_bytes}
    return row, logits.double().flatten(0, 1), whole.targets, sum(parts).item()


@pytest.mark.integration
def test_loss_is_that_of_the_fused_head_to_the_last_bit(scored) -> None:
    row, _, targets, nats = scored
    assert row["tokens_scored"] == int((targets >= 0).sum())
    assert row["loss"] == nats / row["tokens_scored"]


def test_a_collapsed_model_is_never_right() -> None:
    """Where all logits are equal, each id is a most probable one: such a model had an accuracy of 1."""
    scores = Scores.zero(2, torch.device("cpu"))
    gold, sequence = torch.arange(60) % 40, torch.arange(60) % 2
    scores.add(torch.zeros(60, 4), torch.randn(40, 4), gold, sequence, 40)
    found = scores.columns()
    assert (found["accuracy"], found["accuracy_top5"]) == (0, 0)
    assert found["ece"] == pytest.approx(1 / 40)


@pytest.mark.integration
def test_accuracy_and_calibration(scored) -> None:
    row, logits, targets, _ = scored
    valid = targets >= 0
    confidence, best = logits[valid].softmax(1).max(1)
    hit = (best == targets[valid]).double()
    assert row["accuracy"] == pytest.approx(hit.mean().item(), abs=1e-9)
    near = (logits[valid].topk(5).indices == targets[valid][:, None]).any(1).double()
    assert row["accuracy_top5"] == pytest.approx(near.mean().item(), abs=1e-9)
    assert row["accuracy"] < row["accuracy_top5"] < 1
    error = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        if inside.any():
            error += abs(hit[inside].mean() - confidence[inside].mean()).item() * inside.sum().item() / len(hit)
    assert row["ece"] == pytest.approx(error, abs=1e-5)
    assert row["ece"] > 0.05


@pytest.mark.integration
def test_the_table_by_sequence_adds_up_to_the_row(scored) -> None:
    row, logits, targets, _ = scored
    table, valid = row["table"], (targets >= 0).view(21, 64)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=-100).view(21, 64)
    assert table["nats"] == pytest.approx(losses.sum(1).numpy(), rel=1e-5)
    assert list(table["tokens"]) == valid.sum(1).tolist()
    assert table["nats"].sum() == pytest.approx(row["loss"] * row["tokens_scored"], rel=1e-6)
    assert table["recalibrated"].sum() == pytest.approx(row["recalibrated"] * row["tokens_scored"], rel=1e-9)
    assert table["hits"].sum() / row["tokens_scored"] == row["accuracy"]
    assert table["hits_top5"].sum() / row["tokens_scored"] == row["accuracy_top5"]
    sizes = torch.from_numpy(row["token_bytes"].astype(np.int64))[targets.clamp(min=0)] * (targets >= 0)
    assert list(table["bytes"]) == sizes.view(21, 64).sum(1).tolist()
    assert row["bits_per_byte"] == pytest.approx(table["nats"].sum() / np.log(2) / table["bytes"].sum(), rel=1e-6)


def test_errors_of_calibration_do_not_make_up_for_each_other() -> None:
    # One bin of 2 tokens, both hits at confidence 0.5; one of 3 with a single hit at 0.9.
    assert calibration_error(torch.tensor([[2, 1.0, 2], [3, 2.7, 1]])) == pytest.approx((1.0 + 1.7) / 5)


@pytest.mark.integration
def test_recalibration_fits_one_half_and_scores_the_other(scored) -> None:
    row, logits, targets, _ = scored
    second = torch.arange(len(targets)) >= 10 * 64
    total, temperatures = 0.0, []
    for fit in (second, ~second):

        def loss(beta: float, chosen: torch.Tensor) -> float:
            return torch.nn.functional.cross_entropy(
                beta * logits[chosen], targets[chosen], reduction="sum", ignore_index=-100
            ).item()

        beta = minimize_scalar(loss, bounds=(0.25, 4), args=(fit,), method="bounded", options={"xatol": 1e-9}).x
        total += loss(beta, ~fit)
        temperatures.append(1 / beta)
    assert row["recalibrated"] == pytest.approx(total / row["tokens_scored"], abs=1e-4)
    assert row["temperature"] == pytest.approx(np.exp(np.log(temperatures).mean()), rel=1e-3)
    assert row["temperature"] > 1.2
    assert row["recalibrated"] < row["loss"] - 0.02


@pytest.mark.parametrize(("scale", "at_end"), [(1.0, False), (6.0, True), (1 / 6, True)])
def test_recalibration_says_that_it_stopped_at_an_end_of_its_range(scale: float, at_end: bool) -> None:
    """Targets drawn from the softmax of logits that are then too confident, or too little, by `scale`."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 11, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    scores = Scores.zero(2, torch.device("cpu"))
    scores.add(scale * logits, torch.eye(11), targets, torch.arange(4000) % 2, 11)
    found = scores.columns()
    assert found.get("temperature_at_end", False) is at_end
    assert found["temperature"] == pytest.approx(min(4, max(1 / 4, scale)), rel=0.05)


def test_bins_of_confidence_are_of_equal_width_and_the_last_has_certainty() -> None:
    confidence = torch.tensor([0.0, 0.066, 0.067, 0.5, 1.0], dtype=torch.float64)
    bins = confidence_bins(confidence, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    assert {place: row.tolist() for place, row in enumerate(bins) if row[0]} == {
        0: [2.0, 0.066, 0.0], 1: [1.0, 0.067, 1.0], 7: [1.0, 0.5, 1.0], 14: [1.0, 1.0, 1.0]
    }  # fmt: skip


def test_a_slice_may_end_one_before_the_end_of_its_split() -> None:
    """The target of the last prediction is the token after it."""
    text = SimpleNamespace(stream=lambda split: range(1281))
    evaluation = Heldout(data=Slice(tokens=1280, split="test"))
    assert held_out(evaluation, View(context=64), text).count == 20  # type: ignore[arg-type]
    text.stream = lambda split: range(1280)
    with pytest.raises(ConfigError, match="allowed: at most 1279 predictions"):
        held_out(evaluation, View(context=64), text)  # type: ignore[arg-type]
