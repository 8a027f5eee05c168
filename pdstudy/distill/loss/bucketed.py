"""Losses that are not linear: the kept ids one by one, the rest of the vocabulary as one bucket.

Such a loss is a function of the kept logits and of the log-sum-exp of the rest. Autograd differentiates that function,
on [C, K] numbers in float64 (differences of logarithms cancel); the gradient of a logit in the rest is then the
bucket's gradient times its share of the bucket, formed in the buffer that held the logits. A student's temperature
takes a second buffer and goes over the logits a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdstudy.config.losses import KLD, Decoupled, NormKD, RenormaliseBoth, Tail, Temperature, terms
from pdstudy.config.run import KD
from pdstudy.distill.loss.divergences import Entries, kl, row_loss
from pdstudy.distill.loss.narrow import NarrowGradient
from pdstudy.distill.loss.softmax import RowSoftmax
from pdstudy.distill.loss.targets import Target, make_target, teacher_tau
from pdstudy.distill.signal import SparseTargets

LEAST_TAIL = torch.finfo(torch.float32).tiny
"""Probability that stands for a teacher's tail of 0 in float32, whose logarithm would make KL(q || t) infinite."""


ENTRY_BYTES = 192
"""Bytes that a kept entry takes: some twenty float64 numbers, most of them autograd's, and its id."""


class _BucketedLogits:
    """Logits [C, V] as those of the kept ids and of one bucket; their buffer becomes the gradient.

    `kept` is [C, K], `rest` [C] the log-sum-exp of everything else, -inf where there is nothing else.
    """

    def __init__(self, buffer: Tensor, ids: Tensor) -> None:
        self._ids = ids
        self.kept = buffer.gather(1, ids)
        buffer.scatter_(1, ids, -torch.inf)
        self._softmax = RowSoftmax(buffer)
        self.rest = self._softmax.log_sum

    def backward(
        self,
        kept_gradient: Tensor,
        rest_gradient: Tensor,
        entries: Sequence[tuple[Tensor, Tensor]] = (),
        narrow: NarrowGradient | None = None,
    ) -> Tensor:
        """The gradient of the logits, from the gradients of `kept` and `rest` and with `entries` besides: in the buffer
        or in `narrow`."""
        kept = self._ids, kept_gradient.to(self.kept.dtype)
        return self._softmax.gradient(rest_gradient, [kept, *entries], narrow=narrow)


@dataclass(frozen=True)
class BucketedLoss:
    """Any loss, as `pdstudy.distill.loss.capped.ChunkLoss` describes it."""

    objective: KD

    def __call__(
        self,
        logits: Tensor,
        gold: Tensor,
        signal: SparseTargets | None,
        lm_share: Tensor,
        kd_share: Tensor,
        z_share: Tensor,
        gradients: bool,
        narrow: NarrowGradient | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert signal is not None
        objective = self.objective
        target = make_target(signal, gold, objective.rest, objective.temperature, torch.float64)
        # Places that are no entry of their own repeat the row's first id, which always is one.
        ids = torch.where(target.used, target.ids, target.ids[:, :1])
        gold_logits = logits.gather(1, gold[:, None])[:, 0]
        tau = self._student_tau(signal, logits)
        adapted = logits.clone() if isinstance(objective.temperature, NormKD) and gradients else None
        cold = None if tau is None else _BucketedLogits(logits / tau[:, None], ids)
        warm = _BucketedLogits(logits, ids)
        parts = [warm] if cold is None else [warm, cold]
        leaves = [x.double().requires_grad_(gradients) for part in parts for x in (part.kept, part.rest)]
        with torch.enable_grad():
            normaliser = _whole(target, *leaves[:2])
            lm = normaliser - gold_logits
            kd = target.scale * self._loss(signal, target, normaliser, *leaves[-2:])
            if gradients:
                total = (lm_share * lm + kd_share * kd + z_share * normaliser.square()).sum()
                found = torch.autograd.grad(total, leaves, materialize_grads=True)
        if gradients:
            data = [(gold[:, None], -lm_share[:, None])]
            warm.backward(found[0], found[1], data, narrow if cold is None else None)
            if cold is not None and tau is not None:
                cold_gradient = cold.backward(found[2], found[3]).div_(tau[:, None])
                if adapted is not None:
                    # tau = scale std(z), so that d loss / d tau = -sum_j (d loss / d z_j at fixed tau) z_j / tau.
                    slope = torch.linalg.vecdot(cold_gradient, adapted)
                    adapted -= adapted.mean(1, keepdim=True)
                    cold_gradient -= adapted.mul_((slope / adapted.square().sum(1))[:, None])
                logits += cold_gradient
                if narrow is not None:
                    narrow.fill(logits)
        lm, kd, normaliser = (value.detach().to(logits.dtype) for value in (lm, kd, normaliser))
        return lm, kd, normaliser

    def extra_bytes(self, vocab: int, kept: int, dtype: torch.dtype) -> int:
        temperature = self.objective.temperature
        both = isinstance(temperature, Temperature) and temperature.both
        # A student's temperature takes a buffer; one that is differentiated, two more.
        buffers = 3 if isinstance(temperature, NormKD) else int(both)
        return buffers * vocab * dtype.itemsize + ENTRY_BYTES * kept

    def _student_tau(self, signal: SparseTargets, logits: Tensor) -> Tensor | None:
        """The student's temperature of each row; None where it is 1 throughout."""
        temperature = self.objective.temperature
        if isinstance(temperature, NormKD):
            return temperature.scale * logits.std(1, correction=0)
        both = isinstance(temperature, Temperature) and temperature.both and temperature.tau != 1
        if not both or isinstance(self.objective.rest, Decoupled):
            return None
        return teacher_tau(signal, temperature, logits.dtype)

    def _loss(self, signal: SparseTargets, target: Target, normaliser: Tensor, kept: Tensor, rest: Tensor) -> Tensor:
        """Sum weight_i loss_i for each row, [C]; `kept` and `rest` are the student's logits at its temperature."""
        rule = self.objective.rest
        inside = _inside(target, kept)
        whole = torch.logaddexp(inside, rest)
        tau = teacher_tau(signal, self.objective.temperature, kept.dtype)[:, None]
        has_rest = torch.isfinite(rest.detach())[:, None] & (not isinstance(rule, RenormaliseBoth))
        used = torch.cat([target.used, has_rest], 1)
        norm = inside if isinstance(rule, RenormaliseBoth) else whole
        log_q = torch.cat([kept, rest[:, None]], 1) - norm[:, None]
        entries = Entries(
            used=used,
            t=torch.cat([target.probs, target.rest[:, None]], 1),
            log_t=torch.cat([target.log_probs, target.rest.clamp(min=LEAST_TAIL).log()[:, None]], 1),
            log_q=log_q.where(used, 0),
            scored=torch.cat([target.used, has_rest & isinstance(rule, Tail)], 1),
            logits=kept,
            teacher_logits=(signal.log_probs + signal.log_normaliser[:, None]).to(kept.dtype) / tau,
            normaliser=normaliser,
        )

        rows = torch.zeros_like(rest)
        for weight, term in terms(self.objective.loss):
            if isinstance(rule, Decoupled) and isinstance(term, KLD):
                shape = torch.log_softmax((kept / tau).masked_fill(~target.used, -torch.inf), 1).where(target.used, 0)
                tail = signal.tail.to(kept.dtype)
                mass = torch.stack([1 - tail, tail], 1)
                row = kl(mass, mass.log(), torch.stack([inside - whole, rest - whole], 1))
                row = row + (1 - tail) * kl(target.probs, target.log_probs, shape)
            else:
                row = row_loss(term, entries)
            rows = rows + weight * row
        return rows


def _inside(target: Target, kept: Tensor) -> Tensor:
    return kept.masked_fill(~target.used, -torch.inf).logsumexp(1)


def _whole(target: Target, kept: Tensor, rest: Tensor) -> Tensor:
    return torch.logaddexp(_inside(target, kept), rest)
