"""What a run minimises: declarations with their formulas. `pdstudy.distill` computes them.

Notation (Peng et al. 2024, Eqs. 1 to 4): teacher distribution p, student distribution q over the vocabulary,
L = (1 - alpha) L_lm + alpha L_kd, F(p) = softmax(Truncate(log p) / tau), all losses in nats per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pdstudy.losses import NLL, AnyTemperature, Divergence, Plain, Renormalise, Rest, Temperature, undefined
from pdstudy.mixing import ByConfidence, Everywhere, Mix, Routed, Steady, TokenRule, absent
from pdstudy.normal import Problem, declared, neutral

if TYPE_CHECKING:
    from pdstudy.config import Online, Pretrained, Run


@declared
class TopPK:
    """top-p-k in the paper's order: the smallest set whose mass reaches `p`, then its `k` most probable ids.

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
    """`draws` ids drawn with replacement from the full distribution, at capture; each counts p / (draws x proposal).

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


@declared
class LM:
    """Cross-entropy on the data alone: alpha = 0."""


@declared
class KD:
    """(1 - alpha) L_lm + alpha L_kd with a teacher's truncated distribution.

    `alpha` is the share of distillation; at 0 the run is the LM run, teacher and all else left out of its identity.
    The paper's best static value is 0.9 (its Table 4); 1 is its "vanilla" distillation. `rest` is what happens to the
    mass that the truncation drops; `mix` moves alpha over training, `tokens` weighs it from token to token.

    `stored` says whether the store keeps float32 or coded values: a third of the bytes, at an error that it knows, far
    below that of a truncation, but another number in every target. "live" is no store: the teacher is loaded once and
    runs, without gradients, on each micro-batch, its head applied to a chunk of positions at a time. Every run then
    pays for the teacher's forward; truncation TopPK(p=1, k=None), the whole distribution, is for it.
    """

    teacher: Run | Pretrained | Online
    truncation: Truncation = TopPK()
    temperature: AnyTemperature = Temperature()
    loss: Divergence = NLL()
    alpha: float = 0.9
    rest: Rest = neutral(Renormalise())
    mix: Mix = neutral(Steady())
    tokens: TokenRule = neutral(Everywhere())
    stored: Literal["exact", "coded", "live"] = neutral("exact")

    def check(self) -> Iterator[Problem]:
        if not 0 <= self.alpha <= 1:
            yield Problem("alpha", self.alpha, "0 to 1")
        yield from undefined(self.rest, self.temperature, self.loss)
        if self.stored == "live" and isinstance(self.tokens, Routed):
            yield Problem("tokens", self.tokens, "no Routed with stored='live'",
                          hint="its threshold is a quantile of the slice, which only a store knows")  # fmt: skip
        if isinstance(self.truncation, Sampled):
            yield from self._check_sampled(self.truncation)

    def _check_sampled(self, truncation: Sampled) -> Iterator[Problem]:
        hint = "draws estimate p itself: nothing but its cross-entropy is linear in them"
        if self.temperature != Temperature():
            yield Problem("temperature", self.temperature, "Temperature(tau=1) with Sampled", hint=hint)
        if not isinstance(self.loss, NLL):
            yield Problem("loss", self.loss, "NLL() with Sampled", hint=hint)
        if not isinstance(self.rest, Renormalise | Plain):
            yield Problem("rest", self.rest, "Renormalise() or Plain() with Sampled: draws leave no rest")
        if truncation.exponent != 1 and self.stored == "coded":
            yield Problem("stored", self.stored, "'exact' or 'live' with draws of another exponent than 1")
        if isinstance(self.tokens, ByConfidence):
            yield Problem("tokens", self.tokens, "ByEntropy or Routed with Sampled, which keeps no ranks")

    @property
    def needs_teacher(self) -> bool:
        return self.alpha > 0 and not absent(self.mix)


Objective = LM | KD
