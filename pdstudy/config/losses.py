"""Losses of distillation: temperature, treatment of the mass outside the kept ids, divergence.

Notation: p is the teacher's distribution, q the student's, both over the whole vocabulary V; K the kept ids,
m = sum_K p their mass, Q = sum_K q; t is the target made of p. Losses are in nats per token. `pdstudy.distill` computes
them exactly on a sparse support: the rest of the vocabulary is one bucket, for which sum_rest f(t, q) depends on sums
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from pdstudy.core.identity import declared, neutral
from pdstudy.core.validation import Problem


@declared
class Temperature:
    """One temperature for all tokens: the teacher's kept logits are divided by `tau`, then renormalised.

    By default the student stays at 1 and the loss has no tau squared (Peng et al. 2024, Eq. 4). `both` divides the
    student's logits, too (Hinton et al. 2015, arXiv 1503.02531); `squared` multiplies the loss, and so its gradient, by
    tau squared, as they do.
    """

    tau: float = 1.0
    both: bool = neutral(False)
    squared: bool = neutral(False)

    def check(self) -> Iterator[Problem]:
        yield from _above_zero("tau", self.tau)


@declared
class NormKD:
    """Temperatures per token from the spread of the logits: tau_T = scale std(z_T), tau_S = scale std(z_S).

    Standard deviations are over the vocabulary of V ids and divide by V; the loss is multiplied by tau_T squared.

    Chi et al. 2023 (arXiv 2308.00520) and their code, which divides by V - 1: temperatures larger by a factor of
    1 + 1 / (2 V). The student's standard deviation is differentiated, too.
    """

    scale: float = 1.0

    def check(self) -> Iterator[Problem]:
        yield from _above_zero("scale", self.scale)


@declared
class WTTM:
    """Weighted transformed teacher matching: t = p^(1/tau) / U with U = sum p^(1/tau), the loss multiplied by U.

    The student stays at 1. With `weighted` off it is TTM.

    Zheng & Yang 2024 (arXiv 2402.11148) and their code. `over` says which ids U sums: the kept ones, or all of them,
    for which the store carries the tempered mass of the tail. How the paper adapted it to a truncation is not known.
    """

    tau: float
    weighted: bool = True
    over: Literal["kept", "all"] = "kept"

    def check(self) -> Iterator[Problem]:
        yield from _above_zero("tau", self.tau)


@declared
class Adaptive:
    """A temperature per token, teacher only: tau (x / reference)^power, clipped to `low` and `high`.

    x is the teacher's entropy (nats) or the standard deviation of its logits (nats) at that token.

    For the paper's AdaKD_H and AdaKD_SD (Peng et al. 2024, Table 3), whose mapping is not published: every constant
    is a parameter. `reference` is a typical x, in nats, fixed before training and never that of a batch: for example
    the mean of a store's column, `StoreReader.signal(...).entropy.mean()` or `.std.mean()`.
    """

    by: Literal["entropy", "std"]
    reference: float
    tau: float = 1.0
    power: float = 1.0
    low: float = 0.5
    high: float = 2.0

    def check(self) -> Iterator[Problem]:
        for name in ("reference", "tau", "low"):
            yield from _above_zero(name, getattr(self, name))
        if self.high < self.low:
            yield Problem("high", self.high, f"at least low = {self.low}")


AnyTemperature: TypeAlias = Temperature | NormKD | WTTM | Adaptive


@declared
class Renormalise:
    """Target t = p / m on K, 0 outside (Peng et al. 2024): the student ends at q = t, pushed off everything else."""


@declared
class RenormaliseBoth:
    """Both renormalised on K: t = p / m against q / Q.

    No gradient outside K and none in sum inside: the student ends with q / Q = p / m on K, at whatever Q it had.
    Model-Optimizer's top-k, NeMo-RL and MaxText do this.
    """


@declared
class Tail:
    """One bucket for the rest on both sides (ghost token): t = (p on K, 1 - m) against (q on K, 1 - Q).

    The student ends at q = p on K with the right mass outside, of whatever shape. At another temperature 1 - m becomes
    the sum of p^(1/tau) outside, renormalised. Megatron-LM does this, and DistillKit's symmetric mode at temperature 1
    alone: at others it takes (1 - m)^(1/tau), as if the rest were one id.
    """


@declared
class OntoGold:
    """The rest on the data's next token: t = p on K, plus 1 - m there ("naive fix" of RS-KD, arXiv 2503.16870).

    Where data follow p the student ends at q = (2 - m) p on K and (1 - m) p outside, m constant.
    """


@declared
class Plain:
    """No renormalisation: t = p on K, sum_K p (-log q).

    The student ends at q = p / m on K, 0 outside, as with `Renormalise`, but tokens count by their m. As a "KL" it is
    no divergence: it is below 0 in most steps (verl issue 7856).
    """


@declared
class Smooth:
    """The rest spread evenly: t = p on K, (1 - m) / (V - K) on each id outside. The student ends at q = t."""


@declared
class Decoupled:
    """Two terms: KL(m || Q) of Bernoullis, plus m KL(p / m || q / Q) on K, which alone has the temperature, on both
    sides.

    LFM2 (arXiv 2511.23404). The student ends where it does with `Tail`; at temperature 1 it is `Tail` with KLD.
    """


Rest: TypeAlias = Renormalise | RenormaliseBoth | Tail | OntoGold | Plain | Smooth | Decoupled


@declared
class NLL:
    """Soft-label cross-entropy, -sum t log q (Peng et al. 2024, section 3.3).

    Its least value is H(t), at the q that the treatment of the rest says.
    """


@declared
class KLD:
    """Forward KL, KL(t || q) = sum t (log t - log q): NLL minus the entropy of t, so the same gradient.

    Peng et al. 2024, section 3.3. Whether they renormalised the student is not said: `RenormaliseBoth` does.
    """


@declared
class ReverseKL:
    """Reverse KL, KL(q || t) = sum q (log q - log t) (Gu et al. 2023, MiniLLM, arXiv 2306.08543).

    Infinite where q has mass and t none: only where both cover the same ids.
    """


@declared
class JensenShannon:
    """Generalised Jensen-Shannon: beta KL(t || M) + (1 - beta) KL(q || M), M = beta t + (1 - beta) q.

    Agarwal et al. 2023 (GKD, arXiv 2306.13649).
    """

    beta: float = 0.5

    def check(self) -> Iterator[Problem]:
        yield from _inside("beta", self.beta)


@declared
class SkewKL:
    """Skewed KL, KL(t || lam t + (1 - lam) q) (Ko et al. 2024, DistiLLM, arXiv 2402.03898).

    `skewed_forward_kl` of their code is this minus the entropy of t's terms, sum t log t: the same gradient.
    """

    lam: float = 0.1

    def check(self) -> Iterator[Problem]:
        yield from _inside("lam", self.lam)


@declared
class SkewReverseKL:
    """Skewed reverse KL, KL(q || (1 - lam) t + lam q) (Ko et al. 2024, DistiLLM, arXiv 2402.03898).

    At most -log lam on an id without mass in t, so it is finite where `ReverseKL` is not.
    """

    lam: float = 0.1

    def check(self) -> Iterator[Problem]:
        yield from _inside("lam", self.lam)


@declared
class TotalVariation:
    """Total variation distance, 1/2 sum |t - q|, 0 to 1."""


@declared
class MSE:
    """Mean squared error over the kept entries (and the bucket, with `Tail`, of probabilities).

    `on` "logits": of raw logits divided by their temperatures, the teacher's being its log-probabilities plus its
    log-normaliser; it ends at equal logits on K. "probabilities": of t and q. Which of the two the paper's MSE is
    (Table 5) is not known.
    """

    on: Literal["logits", "probabilities"]


@declared
class ZLoss:
    """Penalty on the student's log-normaliser, (log sum exp z)^2, which keeps logits from drifting.

    A term of `Weighted`, so a share of distillation; `Run.z_loss` is for every run, whatever its objective.
    """


@declared
class Weighted:
    """Weighted sum of losses, ((weight, loss), ...), all under one truncation, rest and temperature."""

    terms: tuple[tuple[float, Single], ...]

    def check(self) -> Iterator[Problem]:
        if not self.terms:
            yield Problem("terms", self.terms, "at least one (weight, loss)")


Single: TypeAlias = NLL | KLD | ReverseKL | JensenShannon | SkewKL | SkewReverseKL | TotalVariation | MSE | ZLoss


Divergence: TypeAlias = Single | Weighted


def terms(loss: Divergence) -> tuple[tuple[float, Single], ...]:
    """A loss as a weighted sum, ((weight, loss), ...)."""
    return loss.terms if isinstance(loss, Weighted) else ((1.0, loss),)


def _above_zero(name: str, value: float) -> Iterator[Problem]:
    if value <= 0:
        yield Problem(name, value, "above 0")


def _inside(name: str, value: float) -> Iterator[Problem]:
    if not 0 < value < 1:
        yield Problem(name, value, "between 0 and 1 (both ends excluded; there it is a KL divergence)")
