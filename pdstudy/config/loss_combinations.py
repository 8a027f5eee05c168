"""Combinations of rest, temperature and divergence that are defined, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator

from pdstudy.config.losses import (
    KLD,
    MSE,
    NLL,
    WTTM,
    AnyTemperature,
    Decoupled,
    Divergence,
    OntoGold,
    Plain,
    Renormalise,
    RenormaliseBoth,
    Rest,
    ReverseKL,
    Single,
    Smooth,
    Tail,
    Temperature,
    ZLoss,
    terms,
)
from pdstudy.core.validation import Problem


def undefined(rest: Rest, temperature: AnyTemperature, loss: Divergence) -> Iterator[Problem]:
    """Reasons why a combination has no meaning, or none that a sparse support can give."""
    for _, term in terms(loss):
        yield from _undefined_loss(rest, term)
    one = isinstance(temperature, Temperature) and temperature.tau == 1
    if isinstance(rest, Decoupled) and not (isinstance(temperature, Temperature) and (one or temperature.both)):
        yield Problem("temperature", temperature, "Temperature(tau=..., both=True) with rest=Decoupled()",
                      hint="its temperature is on both sides of the second term")  # fmt: skip
    if isinstance(temperature, WTTM) and not isinstance(rest, Renormalise):
        yield Problem("rest", rest, "Renormalise() with WTTM, whose `over` says what is summed")
    if isinstance(rest, Tail | Plain | Smooth | OntoGold) and not isinstance(temperature, Temperature):
        yield Problem("temperature", temperature, f"Temperature with rest={type(rest).__name__}()",
                      hint="the tail's mass at a temperature per token is not in a store")  # fmt: skip
    if isinstance(rest, Smooth) and not one:
        yield Problem("temperature", temperature, "tau = 1 with rest=Smooth()",
                      hint="what each id outside gets would no longer be its share of the tail's mass")  # fmt: skip


def _undefined_loss(rest: Rest, loss: Single) -> Iterator[Problem]:
    name = type(rest).__name__
    if isinstance(loss, ReverseKL) and not isinstance(rest, RenormaliseBoth | Tail):
        yield Problem("loss", loss, f"a loss that is finite with rest={name}()",
                      hint="KL(q || t) needs t > 0 wherever q is: rest=Tail() or RenormaliseBoth()")  # fmt: skip
    if isinstance(rest, Plain | Smooth) and not isinstance(loss, NLL | KLD | ZLoss):
        yield Problem("loss", loss, f"NLL or KLD with rest={name}()",
                      hint="the target is no distribution" if isinstance(rest, Plain) else
                      "other losses need every probability outside the support")  # fmt: skip
    if isinstance(rest, Decoupled) and not isinstance(loss, KLD | ZLoss):
        yield Problem("loss", loss, "KLD with rest=Decoupled()", hint="it is defined as two KL divergences")
    if isinstance(loss, MSE) and isinstance(rest, OntoGold):
        yield Problem("loss", loss, "a loss of distributions with rest=OntoGold()")
    if isinstance(loss, MSE) and loss.on == "logits" and not isinstance(rest, Renormalise):
        yield Problem("rest", rest, "Renormalise() with MSE on logits, which are not normalised at all")
