"""Truncation: the part of the teacher's distribution that a student learns from.

Notation (Peng et al. 2024, Eqs. 1 to 4): teacher distribution p, student distribution q over the vocabulary,
L = (1 - alpha) L_lm + alpha L_kd, F(p) = softmax(Truncate(log p) / tau), all losses in nats per token.
"""

from __future__ import annotations

from collections.abc import Iterator

from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem

WHOLE = 4096
"""The largest vocabulary of which a store may keep whole distributions."""


@declared
class TopPK:
    """top-p-k: the smallest set of ids whose mass reaches `p`, then its `k` most probable.

    Ranked by log-probability, then by id. `p = 1` keeps everything that k allows (top-k). `k = None` is top-p.
    Source: Peng et al. 2024, section 3.2.
    """

    p: float = 0.95
    k: int | None = 100

    def check(self) -> Iterator[Problem]:
        if not 0 < self.p <= 1:
            yield Problem("p", self.p, "0 < p <= 1", hint="p is a share of probability, not a percentage")
        if self.k is not None and self.k < 1:
            yield Problem("k", self.k, "1 or more, or None for no limit")


@declared
class Sampled:
    """Random sampling: `draws` ids drawn with replacement at capture; each counts p / (draws x proposal).

    The proposal is p^exponent / sum p^exponent. With exponent 1 every draw counts 1 / draws: the counts of RS-KD
    (arXiv 2503.16870), whose gradient is that of the full distribution in expectation; its students end at q = p.
    Otherwise rest=Plain() keeps the estimate unbiased, and Renormalise() makes the weights of a token sum to 1.
    """

    draws: int = 50
    exponent: float = 1.0

    def check(self) -> Iterator[Problem]:
        if self.draws < 1:
            yield Problem("draws", self.draws, "1 or more")
        if self.exponent <= 0:
            yield Problem("exponent", self.exponent, "above 0")


Truncation = TopPK | Sampled
