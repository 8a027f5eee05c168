"""A run's weights against a loop of plain float32 arithmetic, written down once more and nothing in common."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from pdstudy.config.model import MuP
from pdstudy.config.optimizer import WSD, AdamW, Cosine, Schedule
from pdstudy.config.run import Run
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import step_sequences
from pdstudy.models.build_model import build_model
from pdstudy.workspace.run_dir import RunDir
from tests.train.one_run import train_run

STEPS, WARMUP, DECAY = 6, 1024, 1536


def rate(schedule: Schedule, middle: float, total: int) -> float:
    """The share of the peak at the middle of a step's tokens."""
    if middle < WARMUP:
        return middle / WARMUP
    if isinstance(schedule, WSD):
        return min(1.0, schedule.final + (1 - schedule.final) * (total - middle) / DECAY)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (middle - WARMUP) / (total - WARMUP)))


def plain_loop(run: Run, corpus: TokenCorpus, width_ratio: float = 1.0) -> dict[str, Tensor]:
    """AdamW by its formula (Loshchilov and Hutter 2019), on logits that are held whole."""
    settings, context = run.optimiser, run.view.context
    model = build_model(run.student, seed=run.seed, attention="sdpa")
    stream = torch.from_numpy(corpus.stream("train").tokens(0, run.data.stop + 1))
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    for step in range(run.num_steps):
        starts = [int(number) * context for number in step_sequences(run, step)]
        inputs = torch.stack([stream[at : at + context] for at in starts])
        targets = torch.stack([stream[at + 1 : at + context + 1] for at in starts])
        logits = model(inputs, use_cache=False).logits[..., : corpus.vocab]
        model.zero_grad()
        penalty = run.z_loss * logits.logsumexp(-1).square().mean()
        (cross_entropy(logits.flatten(0, 1), targets.flatten()) + penalty).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
        assert norm > settings.clip, "or clipping would not be seen"
        lr = settings.lr * rate(run.schedule, (step + 0.5) * run.tokens_per_step, run.num_tokens)
        with torch.no_grad():
            for name, p in model.named_parameters():
                m = width_ratio if ".layers." in name and p.ndim == 2 else 1.0
                g = gradients[name] * settings.clip / norm
                first, second = moments[name]
                first += (1 - settings.betas[0]) * (g - first)
                second += (1 - settings.betas[1]) * (g * g - second)
                unbiased = [m / (1 - b ** (step + 1)) for m, b in zip((first, second), settings.betas, strict=True)]
                p *= 1 - lr * (settings.weight_decay if p.ndim == 2 else 0.0)
                p -= lr / m * unbiased[0] / (unbiased[1].sqrt() + settings.eps)
    return dict(model.named_parameters())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("schedule", "z_loss", "parametrisation"),
    [
        (Cosine(warmup_tokens=WARMUP), 0.0, None),
        (Cosine(warmup_tokens=WARMUP), 0.0, MuP(base_width=8, base_layers=1, base_head_dim=4)),
        (WSD(warmup_tokens=WARMUP, decay_tokens=DECAY, shape="linear", final=0.2), 0.1, None),
    ],
    ids=("cosine", "muP", "wsd with a floor, z-loss"),
)
def test_a_run_is_what_a_plain_loop_computes(
    schedule: Schedule,
    z_loss: float,
    parametrisation: MuP | None,
    small_run: Run,
    corpus: TokenCorpus,
    tmp_path: Path,
) -> None:
    # A decay and an eps so large that neither can be missed; a clip below every norm.
    optimiser = AdamW(lr=5e-3, betas=(0.8, 0.9), eps=1e-4, weight_decay=2.0, clip=0.1)
    student = dataclasses.replace(small_run.student, parametrisation=parametrisation)  # type: ignore[type-var]
    run = dataclasses.replace(
        small_run,
        student=student,
        optimiser=optimiser,
        schedule=schedule,
        steps=STEPS,
        seed=3,
        z_loss=z_loss,
    )
    width_ratio = 1.0 if parametrisation is None else 32 / parametrisation.base_width
    directory = RunDir(tmp_path / "run")
    assert train_run(run, directory, corpus=corpus, store=None, evaluations=()) == "done"
    found = dict(AutoModelForCausalLM.from_pretrained(directory.model).named_parameters())
    for name, expected in plain_loop(run, corpus, width_ratio).items():
        # Rows of padding are not exported.
        torch.testing.assert_close(found[name], expected.data[: len(found[name])], rtol=0, atol=2e-6, msg=name)
