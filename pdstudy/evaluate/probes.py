"""Comparing a model with a teacher on held-out text, chunk by chunk of both their logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.config.alpha import Everywhere
from pdstudy.config.evaluation import Evaluation, probe_teacher
from pdstudy.config.logits import required_coverage
from pdstudy.config.losses import KLD
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.identity import fingerprint
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.loss.capped import soft_capped
from pdstudy.distill.loss.chunk_size import choose_chunk_rows
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.teacher.load import load_teacher
from pdstudy.distill.teacher.statistics import summarise, whole_signal
from pdstudy.distill.teacher.weights import check_finite
from pdstudy.distill.truncate import cut
from pdstudy.evaluate.gradient_angles import trunk_gradient
from pdstudy.evaluate.metrics import BINS, calibration_error, confidence_bins


def compared(
    evaluation: Evaluation, run: Run, teachers: Mapping[str, Path], corpus: TokenCorpus
) -> TeacherScores | None:
    """The comparison of `run` with a probe's teacher, None where the probe has no teacher or its model is not given.

    `teachers` are model folders by the teacher's fingerprint.
    """
    teacher = probe_teacher(evaluation, run)
    folder = None if teacher is None else teachers.get(fingerprint(teacher))
    return None if teacher is None or folder is None else TeacherScores(run, teacher, folder, corpus)


SUMS = ("tokens", "teacher_loss", "kl", "reverse_kl", "agreement", "kept_entries", "kept_mass")
"""Names of the sums, in the order in which `TeacherScores` keeps them."""

GRADIENT_TOKENS = 2048
"""Tokens of a probe over which gradients are compared: whole sequences, one at least."""


class TeacherScores:
    """Sums of the columns that `pdstudy.config.evaluation.Probe` lists, for one model and the teacher in `folder`."""

    def __init__(self, run: Run, teacher: Run | Pretrained, folder: Path, corpus: TokenCorpus) -> None:
        dtype = getattr(torch, teacher.dtype) if isinstance(teacher, Pretrained) else torch.float32
        self._folder = folder
        self._model = load_teacher(folder, corpus, run.view.context, dtype)
        self._objective = run.objective if isinstance(run.objective, KD) and run.teacher is not None else None
        self._vocab = corpus.vocab
        self.reset()

    def reset(self) -> None:
        device = self._model.device
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        self.bins = torch.zeros(BINS, 3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, batch: MicroBatch, hidden: Tensor, weight: Tensor, cap: float | None = None) -> None:
        """Take in a micro-batch: the student's last hidden states [N, H], its head [V, H], and its logits' soft cap."""
        assert batch.sequences is not None
        logits = _logits(self._model, batch)
        check_finite(logits[..., : self._vocab], self._folder, batch.sequences.tolist())
        context = len(batch.targets) // len(batch.sequences)
        table = weight[: self._vocab].float()
        # Ten tensors like the logits live at a time.
        size = choose_chunk_rows(self._vocab, torch.float32, hidden.device, extra_bytes=40 * self._vocab)
        for row, sequence in enumerate(batch.sequences.tolist()):
            teacher = logits[row]
            for start in range(0, context, size):
                part = slice(row * context + start, row * context + min(start + size, context))
                valid = batch.targets[part] != IGNORED
                if not valid.any():
                    continue  # a rank beyond the last sequence
                student = soft_capped(hidden[part].float() @ table.t(), cap)[valid]
                piece = teacher[start : start + size, : self._vocab].float()[valid]
                self._count(student, piece, batch.targets[part][valid], seed=sequence)

    def _count(self, student: Tensor, teacher: Tensor, gold: Tensor, seed: int) -> None:
        log_q, log_p = torch.log_softmax(student, 1), torch.log_softmax(teacher, 1)
        q, p, ahead = log_q.exp(), log_p.exp(), log_p - log_q
        confidence, best = q.max(1)
        of_teacher = p.gather(1, best[:, None])[:, 0]
        nothing = torch.zeros_like(confidence)
        entries, mass = self._kept(teacher, gold, seed) if self._objective is not None else (nothing, nothing)
        rows = [
            torch.ones_like(confidence),
            -log_p.gather(1, gold[:, None])[:, 0],
            torch.linalg.vecdot(p, ahead),
            -torch.linalg.vecdot(q, ahead),
            best == p.argmax(1),
            entries,
            mass,
        ]
        self.sums += torch.stack([row.double() for row in rows]).sum(1)
        self.bins += confidence_bins(confidence.double(), of_teacher.double())

    def _kept(self, teacher: Tensor, gold: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Different ids that the run's truncation keeps of each row, and the teacher's probability of them together."""
        assert self._objective is not None
        full = summarise(teacher, gold, required_coverage(self._objective), self._vocab, seed)
        signal: SparseTargets = cut(full, self._objective.truncation)
        used = signal.log_probs > -torch.inf
        if not isinstance(self._objective.truncation, Sampled):
            return used.sum(1), (signal.log_probs.exp() * used).sum(1)
        chosen = torch.zeros_like(teacher).scatter_(1, signal.ids, 1.0)
        return chosen.sum(1), (chosen * torch.softmax(teacher, 1)).sum(1)

    def gradients(self, model: PreTrainedModel, batch: MicroBatch) -> tuple[Tensor, Tensor] | None:
        """Trunk gradients over one sequence of the run's own distillation term, every token alike, and of full
        distillation (KL to the whole distribution at temperature 1). None of a run that does not distil."""
        if self._objective is None:
            return None
        assert batch.sequences is not None
        logits, targets = _logits(self._model, batch)[0], batch.targets.clamp(min=0)
        full = summarise(logits, targets, required_coverage(self._objective), self._vocab, seed=int(batch.sequences[0]))
        own = dataclasses.replace(self._objective, tokens=Everywhere())
        whole = KD(teacher=own.teacher, truncation=TopPK(p=1, k=None), loss=KLD(), stored="live")
        found = []
        for objective, signal in ((own, cut(full, own.truncation)), (whole, _Whole(logits, targets, self._vocab))):
            with_signal = dataclasses.replace(batch, signal=signal)
            found.append(trunk_gradient(model, with_signal, objective, 1.0, self._vocab))
        return found[0], found[1]

    def pack(self) -> Tensor:
        return torch.cat([self.sums, self.bins.flatten()])

    def columns(self, packed: Tensor) -> dict[str, float]:
        """Means per token of `pack` summed over ranks; columns of a truncation only where the run has one."""
        sums = dict(zip(SUMS, packed[: len(SUMS)].tolist(), strict=True))
        tokens = sums.pop("tokens")
        found = {name: value / tokens for name, value in sums.items()}
        if self._objective is None:
            del found["kept_entries"], found["kept_mass"]
        return {**found, "ece_teacher": calibration_error(packed[len(SUMS) :].view(BINS, 3))}


@dataclass(frozen=True)
class _Whole:
    """Full distributions as a signal, a chunk at a time, from logits [N, at least vocab]."""

    logits: Tensor
    targets: Tensor
    vocab: int

    @property
    def width(self) -> int:
        return self.vocab

    def rows(self, part: slice) -> SparseTargets:
        return whole_signal(self.logits[part], self.targets[part], self.vocab)


@torch.no_grad()
def _logits(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """[B, T, V] of a probe's micro-batch: a few thousand tokens at most."""
    assert batch.sequences is not None
    inputs = batch.inputs.view(len(batch.sequences), -1)  # where they were packed, one row of all
    logits: Tensor = model(input_ids=inputs, use_cache=False).logits
    return logits
