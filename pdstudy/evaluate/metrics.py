"""Sums over a model's predictions, in one pass over chunks of logits: never tokens x vocabulary.

Top-1 and top-5 accuracy; the expected calibration error of the most probable id (Guo et al. 2017, arXiv 1706.04599) in
15 bins of equal width; and the loss as a function of one temperature on the logits, for recalibration: an objective
that bends its target bends the student's confidence, and raw loss alone would say that it had learned less. All but
calibration is known by sequence: the text is a sample, too, and a difference of two models has an error for it.
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
from pdstudy.distill.loss.capped import soft_capped
from pdstudy.distill.loss.chunk_size import METRIC_ROWS, choose_chunk_rows, size_for
from pdstudy.distill.loss.linear import LinearLoss

BINS = 15
"""Bins of equal width over the confidence, of the expected calibration error."""


NODES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Inverse temperatures at which the loss is known, with two derivatives; each is twice the one before."""


END = 1e-3
"""Distance to an end of the range, in log temperature, at which the search for the best one has stopped there."""


TOP = 5
"""Ids among which the right one counts for top-5 accuracy."""


SEQUENCE = np.dtype(
    [(name, "<u4") for name in ("tokens", "bytes", "hits", "hits_top5")] + [("nats", "<f8"), ("recalibrated", "<f8")]
)
"""A row of the table by sequence: predictions scored, UTF-8 bytes they stand for, those whose most probable id is
right, those whose right id is among the five most probable, nats, and nats after temperature scaling (NaN without)."""


@dataclass
class Scores:
    """Sums over the tokens seen; `pack` and `unpack` for adding them up over ranks.

    `lm` nats; `bins` [BINS, 3]: tokens, confidence, hits by bin of confidence; `counts` [sequences, 3]: tokens, hits,
    top-5 hits; `losses` [sequences, len(NODES), 3]: the loss at each node and its first two derivatives in the inverse
    temperature.
    """

    lm: Tensor
    bins: Tensor
    counts: Tensor
    losses: Tensor

    @staticmethod
    def zero(sequences: int, device: torch.device) -> Scores:
        shapes = ((), (BINS, 3), (sequences, 3), (sequences, len(NODES), 3))
        return Scores(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    @property
    def tokens(self) -> float:
        """Predictions scored."""
        return float(self.counts[:, 0].sum())

    def pack(self) -> Tensor:
        return torch.cat([value.flatten() for value in vars(self).values()])

    def unpack(self, packed: Tensor) -> Scores:
        parts = packed.split([value.numel() for value in vars(self).values()])
        return Scores(*(part.view(value.shape) for part, value in zip(parts, vars(self).values(), strict=True)))

    def add(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, sequence: Tensor, vocab: int, cap: float | None = None
    ) -> None:
        """Take in N positions: `hidden` [N, H], `weight` [V, H], `targets` and numbers of the `sequence` int64 [N].

        `cap` is the soft cap of the logits. `lm` comes to what `fused_loss` gives, on a CPU to the bit.
        """
        table = weight[:vocab].float()
        size = choose_chunk_rows(vocab, torch.float32, hidden.device)
        buffer = torch.empty(min(size, len(hidden)), vocab, device=hidden.device)
        lm = torch.zeros_like(self.lm)
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            states = hidden[part].float()
            logits = soft_capped(torch.mm(states, table.t(), out=buffer[: len(states)]), cap)
            lm += self._add_chunk(logits, targets[part], sequence[part])
        self.lm += lm

    def add_logits(self, logits: Tensor, targets: Tensor, sequence: Tensor, vocab: int) -> None:
        """Take in N positions by their logits [N, at least vocab], whatever a model makes them of."""
        size = choose_chunk_rows(vocab, torch.float32, logits.device)
        for start in range(0, len(logits), size):
            part = slice(start, start + size)
            chunk = logits[part, :vocab].to(torch.float32, copy=True)
            self.lm += self._add_chunk(chunk, targets[part], sequence[part])

    def _add_chunk(self, logits: Tensor, targets: Tensor, sequence: Tensor) -> Tensor:
        """Count a chunk, whose float32 logits [C, vocab] are overwritten; its nats."""
        valid = targets != IGNORED
        gold = targets.clamp(min=0)
        few = size_for(METRIC_ROWS, logits.device)
        for at in range(0, len(logits), few):
            some = slice(at, at + few)
            self._count(logits[some], gold[some], sequence[some], valid[some])
        share = valid.float()
        nats = LinearLoss(LM())(logits, gold, None, share, share, share, False)[0]
        return (share * nats).sum(dtype=torch.float64)

    def _count(self, logits: Tensor, gold: Tensor, sequence: Tensor, valid: Tensor) -> None:
        if not valid.all():
            logits, gold, sequence = logits[valid], gold[valid], sequence[valid]
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
            self.losses[:, number].index_add_(0, sequence, known)
            if beta == 1:
                # An exact tie is no hit: a collapsed model, all of whose logits are equal, would be right always.
                place = torch.count_nonzero(below >= of_gold[:, None], 1)
                hit, near = (place == 1).double(), (place <= TOP).double()
                self.bins += confidence_bins(1 / total.double(), hit)
                self.counts.index_add_(0, sequence, torch.stack([torch.ones_like(hit), hit, near], 1))

    def columns(self) -> dict[str, float]:
        """`accuracy`, `accuracy_top5` and `ece`, shares; `recalibrated` (nats per token) and the `temperature` of that:
        fitted on one half of the sequences and scored on the other, both ways; `temperature_at_end`, true where one of
        the two stopped at an end of the range, 1/4 to 4, so that a still better one lies outside, and absent elsewhere.
        For a text of one sequence there is no temperature."""
        tokens, hits, near = self.counts.sum(0).tolist()
        found = {"accuracy": hits / tokens, "accuracy_top5": near / tokens, "ece": calibration_error(self.bins)}
        best = self._temperatures()
        if best is not None:
            found["recalibrated"] = float(self._recalibrated(best).sum()) / tokens
            found["temperature"] = math.exp(-sum(best) / 2)
            if max(map(abs, best)) > math.log(NODES[-1]) - END:
                found["temperature_at_end"] = True
        return found

    def by_sequence(self, num_bytes: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """The table by sequence, [sequences] of `SEQUENCE`; `num_bytes` [sequences]."""
        table = np.zeros(len(self.counts), SEQUENCE)
        for name, values in zip(("tokens", "hits", "hits_top5"), self.counts.cpu().numpy().T, strict=True):
            table[name] = values
        table["bytes"] = num_bytes
        table["nats"] = self.losses[:, NODES.index(1.0), 0].cpu().numpy()
        best = self._temperatures()
        table["recalibrated"] = math.nan if best is None else self._recalibrated(best)
        return table

    def _temperatures(self) -> tuple[float, float] | None:
        """Logarithms of the best inverse temperatures of the first and the second half of the sequences."""
        halves = [half.sum(0).cpu().numpy() for half in self._halves()]
        return (_best(_curve(halves[0])), _best(_curve(halves[1]))) if all(h[2, 0] for h in halves) else None

    def _recalibrated(self, best: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Nats by sequence, each half at the temperature of the other."""
        halves = [half.cpu().numpy().transpose(1, 2, 0) for half in self._halves()]
        return np.concatenate([_curve(half)(at) for half, at in zip(halves, best[::-1], strict=True)])

    def _halves(self) -> tuple[Tensor, Tensor]:
        middle = len(self.losses) // 2
        return self.losses[:middle], self.losses[middle:]


def confidence_bins(confidence: Tensor, hit: Tensor) -> Tensor:
    """[BINS, 3]: tokens, their confidence and their hits (or probabilities of one), summed by bin of confidence."""
    place = (confidence * BINS).long().clamp(0, BINS - 1)  # NaN, of a broken model, becomes the least integer
    bins = torch.zeros(BINS, 3, dtype=torch.float64, device=confidence.device)
    return bins.index_add_(0, place, torch.stack([torch.ones_like(hit), confidence, hit], 1))


def calibration_error(bins: Tensor) -> float:
    """The mean over tokens of |hits - confidence| of a token's bin, for [BINS, 3] tokens, confidence, hits."""
    return float((bins[:, 2] - bins[:, 1]).abs().sum() / bins[:, 0].sum())


def _curve(known: npt.NDArray[np.float64]) -> KroghInterpolator:
    """Loss over the logarithm of the inverse temperature, through values and two derivatives at the nodes, [nodes, 3]
    or [nodes, 3, ...].

    Between them it is within 1e-4 nats per token.
    """
    beta = np.array(NODES).reshape(-1, *[1] * (known.ndim - 2))
    value, slope, bend = known[:, 0], known[:, 1], known[:, 2]
    in_log = np.stack([value, beta * slope, beta * slope + beta**2 * bend], 1)
    return KroghInterpolator(np.repeat(np.log(NODES), 3), in_log.reshape(3 * len(NODES), *known.shape[2:]))


def _best(curve: KroghInterpolator) -> float:
    """The logarithm of the best inverse temperature between the first node and the last."""
    bounds = (math.log(NODES[0]), math.log(NODES[-1]))
    return float(minimize_scalar(lambda x: float(curve(x)), bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)
