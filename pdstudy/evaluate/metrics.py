"""Sums over a model's predictions, in one pass over chunks of logits: never tokens x vocabulary.

Top-1 accuracy; the expected calibration error of the most probable id (Guo et al. 2017, arXiv 1706.04599) in 15 bins of
equal width; and the loss as a function of one temperature on the logits, for recalibration: an objective that bends its
target bends the student's confidence, and raw loss alone would say that it had learned less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import KroghInterpolator
from scipy.optimize import minimize_scalar
from torch import Tensor

from pdstudy.config.run import LM
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.loss.chunk_size import METRIC_ROWS, choose_chunk_rows, size_for
from pdstudy.distill.loss.linear import LinearLoss

BINS = 15
"""Bins of equal width over the confidence, of the expected calibration error."""


NODES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Inverse temperatures at which the loss is known, with two derivatives; each is twice the one before."""


END = 1e-3
"""Distance to an end of the range, in log temperature, at which the search for the best one has stopped there."""


@dataclass
class Scores:
    """Sums over the tokens seen; `pack` and `unpack` for adding them up over ranks.

    `lm` nats, `tokens`, `hits`; `bins` [BINS, 3]: tokens, confidence, hits by bin of confidence; `losses`
    [2, len(NODES), 3]: for each half of the text, the loss at each node and its first two derivatives in the inverse
    temperature.
    """

    lm: Tensor
    tokens: Tensor
    hits: Tensor
    bins: Tensor
    losses: Tensor

    @staticmethod
    def zero(device: torch.device) -> Scores:
        shapes = ((), (), (), (BINS, 3), (2, len(NODES), 3))
        return Scores(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def pack(self) -> Tensor:
        return torch.cat([value.flatten() for value in vars(self).values()])

    def unpack(self, packed: Tensor) -> Scores:
        parts = packed.split([value.numel() for value in vars(self).values()])
        return Scores(*(part.view(value.shape) for part, value in zip(parts, vars(self).values(), strict=True)))

    def add(self, hidden: Tensor, weight: Tensor, targets: Tensor, half: Tensor, vocab: int) -> None:
        """Take in N positions: `hidden` [N, H], `weight` [V, H], `targets` int64 [N], `half` int64 [N], 0 or 1.

        `lm` comes to what `fused_loss` gives, on a CPU to the bit.
        """
        table = weight[:vocab].float()
        size = choose_chunk_rows(vocab, torch.float32, hidden.device)
        few = size_for(METRIC_ROWS, hidden.device)
        buffer = torch.empty(min(size, len(hidden)), vocab, device=hidden.device)
        lm = torch.zeros_like(self.lm)
        rows = LinearLoss(LM())
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            states = hidden[part].float()
            logits = torch.mm(states, table.t(), out=buffer[: len(states)])
            valid = targets[part] != IGNORED
            gold = targets[part].clamp(min=0)
            for at in range(0, len(states), few):
                some = slice(at, at + few)
                self._count(logits[some], gold[some], half[part][some], valid[some])
            share = valid.float()
            lm += (share * rows(logits, gold, None, share, share, share, False)[0]).sum(dtype=torch.float64)
        self.lm += lm

    def _count(self, logits: Tensor, gold: Tensor, half: Tensor, valid: Tensor) -> None:
        if not valid.all():
            logits, gold, half = logits[valid], gold[valid], half[valid]
        below = logits - logits.amax(1, keepdim=True)
        of_gold = below.gather(1, gold[:, None])[:, 0]
        square_below = below.square()
        powers = (below * NODES[0]).exp_()
        for number, beta in enumerate(NODES):
            if number:
                powers.square_()
            total = powers.sum(1)
            mean = torch.linalg.vecdot(powers, below) / total
            square = torch.linalg.vecdot(powers, square_below) / total
            known = torch.stack([total.log() - beta * of_gold, mean - of_gold, square - mean.square()], 1).double()
            self.losses[:, number].index_add_(0, half, known)
            if beta == 1:
                hit = (of_gold == 0).double()  # argmax takes ten times as long; an exact tie counts as a hit
                self.bins += confidence_bins(1 / total.double(), hit)
                self.hits += hit.sum()
                self.tokens += len(hit)

    def columns(self) -> dict[str, float]:
        """`accuracy` and `ece`, shares; `recalibrated` (nats per token) and the `temperature` of that: fitted on one
        half of the text and scored on the other, both ways; `temperature_at_end`, true where one of the two stopped
        at an end of the range, 1/4 to 4, so that a still better one lies outside, and absent elsewhere. For a text of
        one sequence there is no temperature."""
        tokens = float(self.tokens)
        found = {"accuracy": float(self.hits) / tokens, "ece": calibration_error(self.bins)}
        halves = self.losses.cpu().numpy()
        if halves[:, 2, 0].all():
            curves = [_curve(half) for half in halves]
            best = [_best(curve) for curve in curves]
            found["recalibrated"] = float(curves[1](best[0]) + curves[0](best[1])) / tokens
            found["temperature"] = math.exp(-sum(best) / 2)
            if max(map(abs, best)) > math.log(NODES[-1]) - END:
                found["temperature_at_end"] = True
        return found


def confidence_bins(confidence: Tensor, hit: Tensor) -> Tensor:
    """[BINS, 3]: tokens, their confidence and their hits (or probabilities of one), summed by bin of confidence."""
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = torch.zeros(BINS, 3, dtype=torch.float64, device=confidence.device)
    return bins.index_add_(0, place, torch.stack([torch.ones_like(hit), confidence, hit], 1))


def calibration_error(bins: Tensor) -> float:
    """The mean over tokens of |hits - confidence| of a token's bin, for [BINS, 3] tokens, confidence, hits."""
    return float((bins[:, 2] - bins[:, 1]).abs().sum() / bins[:, 0].sum())


def _curve(known: npt.NDArray[np.float64]) -> KroghInterpolator:
    """Loss over the logarithm of the inverse temperature, through values and two derivatives at the nodes.

    Between them it is within 1e-4 nats per token.
    """
    beta = np.array(NODES)
    value, slope, bend = known.T
    in_log = np.stack([value, beta * slope, beta * slope + beta**2 * bend], 1)
    return KroghInterpolator(np.repeat(np.log(beta), 3), in_log.ravel())


def _best(curve: KroghInterpolator) -> float:
    """The logarithm of the best inverse temperature between the first node and the last."""
    bounds = (math.log(NODES[0]), math.log(NODES[-1]))
    return float(minimize_scalar(lambda x: float(curve(x)), bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)
