"""The loss and its gradients do not depend on how a step is divided: micro-batches, ranks, replicas, recomputation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor

from pdstudy.config.data import Corpus, Slice, View
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, LM, Objective, Pretrained, Run
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.truncation import TopPK, Truncation
from pdstudy.corpus import TokenStream
from pdstudy.distill.signal import SparseTargets
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import open_ranks
from pdstudy.models.parallelize import lay_out
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients
from tests.train import ranks

CORPUS = Corpus(sources=(LocalFiles(paths=("none",)),))
CONTEXT, SEQUENCES, VOCAB = 24, 8, 90


@dataclass(frozen=True)
class Text:
    """Random tokens whose first half is almost all ends of documents: one rank has most of the valid targets."""

    seed: int = 0

    def stream(self, split: str) -> TokenStream:
        length = CONTEXT * SEQUENCES + 1
        tokens = np.random.default_rng(self.seed).integers(0, VOCAB, length).astype(np.uint16)
        dense = np.arange(0, length // 2)
        starts = np.concatenate([dense[dense % 11 > 0], np.arange(length // 2, length, 17), [length]])
        return TokenStream("train", [tokens], np.concatenate([[0], starts]).astype(np.int64))


@dataclass(frozen=True)
class Signals:
    """A teacher's distributions, a function of the sequence: K = 5 ids of each position."""

    def signal(self, sequences: np.ndarray, truncation: Truncation) -> SparseTargets:
        parts = []
        for sequence in sequences.tolist():
            random = torch.Generator().manual_seed(sequence)
            ids = torch.rand(CONTEXT, VOCAB, generator=random).argsort(1)[:, :5]
            logits = torch.randn(CONTEXT, 5, generator=random).sort(1, descending=True).values
            parts.append((ids, logits.log_softmax(1) - 0.1))
        ids, log_probs = (torch.cat(column) for column in zip(*parts, strict=True))
        none = torch.zeros(len(ids))
        return SparseTargets(ids, log_probs, tail=none, gold=none, log_normaliser=none, entropy=none, std=none)


@dataclass(frozen=True)
class Case:
    kd: bool = False
    documents: str = "respect"
    tied: bool = True
    dtype: torch.dtype = torch.float32
    ranks: int = 1
    placement: Placement = Placement()

    @property
    def objective(self) -> Objective:
        return KD(teacher=Pretrained(path="none"), truncation=TopPK(), alpha=0.7) if self.kd else LM()

    @property
    def run(self) -> Run:
        shape = Shape(width=32, layers=2, heads=4, query_groups=2, ffn=48, vocab=96, tied=self.tied)
        return Run(
            student=shape, corpus=CORPUS, data=Slice(tokens=CONTEXT * SEQUENCES), objective=self.objective,
            view=View(context=CONTEXT, documents=self.documents), optimiser=AdamW(lr=1e-3),
            schedule=Cosine(warmup_tokens=0), tokens_per_step=CONTEXT * SEQUENCES, steps=1,
        )  # fmt: skip


def measure(case: Case, out: Path) -> None:
    """Write the loss, the valid tokens and every gradient of the first step."""
    with open_ranks(replicas=case.placement.replicas, sharded=False) as world:
        model = build_model(case.run.student, seed=0, dtype=case.dtype)
        lay_out(model, case.placement, world, "float32")
        feed = BatchLoader(case.run, Text(), Signals() if case.kd else None, case.placement, world)
        valid, sums = gradients(model, feed, world, 0, case.objective, 0.7 if case.kd else 0.0, VOCAB)
        loss = world.sum(torch.stack([sums[name].double() for name in sums]))
        grads = {name: p.grad for name, p in model.named_parameters()}
        whole = {name: g.full_tensor() if isinstance(g, DTensor) else g for name, g in grads.items()}
        if world.main:
            torch.save({"valid": valid, "loss": loss, "grads": whole}, out)


def measured(case: Case, tmp_path: Path) -> dict:
    out = tmp_path / "measured.pt"
    if case.ranks == 1:
        measure(case, out)
    else:
        ranks.run(case.ranks, measure, case, out)
    return torch.load(out)


FLOAT64 = torch.float64
CASES = [
    Case(placement=Placement(micro_batch_tokens=24)),
    Case(placement=Placement(micro_batch_tokens=72)),
    Case(placement=Placement(micro_batch_tokens=72), dtype=FLOAT64),
    Case(documents="cross", placement=Placement(micro_batch_tokens=48), dtype=FLOAT64),
    Case(placement=Placement(activation_checkpointing=True)),
    pytest.param(Case(placement=Placement(compile=True)), marks=pytest.mark.slow),  # a minute of compiling
    Case(ranks=2),
    Case(ranks=2, dtype=FLOAT64),
    Case(ranks=2, tied=False, placement=Placement(micro_batch_tokens=48), dtype=FLOAT64),
    Case(ranks=2, documents="cross", placement=Placement(activation_checkpointing=True, micro_batch_tokens=48)),
    Case(kd=True, placement=Placement(micro_batch_tokens=48), dtype=FLOAT64),
    Case(kd=True, ranks=2, placement=Placement(micro_batch_tokens=72), dtype=FLOAT64),
    Case(ranks=2, placement=Placement(replicas=2, micro_batch_tokens=24), dtype=FLOAT64),
    Case(ranks=2, placement=Placement(replicas=2, micro_batch_tokens=48)),
    Case(ranks=4, placement=Placement(replicas=2, micro_batch_tokens=24), dtype=FLOAT64),
]


MARKED = [
    pytest.param(case, marks=pytest.mark.integration) if isinstance(case, Case) and case.ranks > 1 else case
    for case in CASES
]


@pytest.mark.parametrize("case", MARKED, ids=str)
def test_loss_and_gradients_do_not_depend_on_the_placement(case: Case, tmp_path: Path) -> None:
    plain = measured(Case(kd=case.kd, documents=case.documents, tied=case.tied, dtype=case.dtype), tmp_path)
    other = measured(case, tmp_path)
    tolerance = 1e-12 if case.dtype == FLOAT64 else 1e-6
    assert other["valid"] == plain["valid"]
    assert (plain["valid"] < CONTEXT * SEQUENCES * 0.6) == (case.documents == "respect")
    assert other["loss"].tolist() == pytest.approx(plain["loss"].tolist(), rel=tolerance)
    for name, expected in plain["grads"].items():
        assert (other["grads"][name] - expected).norm() <= tolerance * expected.norm(), name
