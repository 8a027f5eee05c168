"""The scale `small`: two CPU cores for a day, at settings in which the findings of the paper can show.

What keeps `mini` from showing them is changed: the teacher has fourteen times the anchor's parameters and 2.7 times
its tokens, students have 28 tokens a parameter at the anchor and 12 at the largest, the vocabulary is of 2,048 and the
text of several domains, and losses are over half a million tokens of test text. Students and teachers are of one family
by muP, so that one peak rate serves all widths: that of the scaling study's LM runs (`studies/scaling/rates.py`). Not
looked for yet are the rates of distilled arms (`pdstudy run studies/paper_rates.py` does so) and the means to which
adaptive temperatures refer, which are those of the teacher of `mini`.
"""

import dataclasses
from typing import Literal

from paper.scale import Scale

from pdstudy import (
    BPE,
    ENGLISH,
    WSD,
    AdamW,
    Corpus,
    Cosine,
    Heldout,
    MuP,
    PeriodicMix,
    Probe,
    Run,
    Shape,
    Slice,
    View,
    WSDMix,
)

STEP, CONTEXT, RATE = 2048, 256, 1.13e-2
"""Tokens of a step and of a sequence, and the peak learning rate."""

STEPS, LONG_STEPS, TEACHER_STEPS = 2560, 5120, 6840
"""Steps of 2,048 tokens: 5.2M, 10.5M and 14.0M of the 27.5M tokens of training text."""


def small(mini: Scale) -> Scale:
    """The scale of two cores for minutes, changed to one for a day; its levels of most axes stay."""
    vocab = 2048
    corpus = Corpus(sources=ENGLISH, tokenizer=BPE(vocab=vocab), validation=0.02, test=0.025)

    def shape(width: int, layers: int = 4) -> Shape:
        return Shape(
            width=width,
            layers=layers,
            heads=width // 16,
            query_groups=width // 16,
            ffn=8 * width // 3 // 16 * 16,
            vocab=vocab,
            init_std=0.0707,
            parametrisation=MuP(base_width=32),
        )

    def trained(student: Shape, data: Slice, order: Literal["shuffled", "stream"] = "shuffled") -> Run:
        return Run(
            student=student,
            corpus=corpus,
            data=data,
            view=View(context=CONTEXT),
            optimiser=AdamW(lr=RATE),
            schedule=Cosine(warmup_tokens=64 * STEP),
            tokens_per_step=STEP,
            tokens=data.tokens,
            order=order,
        )

    fresh = Slice(start=LONG_STEPS * STEP, tokens=TEACHER_STEPS * STEP)  # no student reads it
    widths = (32, 48, 64, 96)
    return dataclasses.replace(
        mini,
        name="small",
        students={f"w{width}": shape(width) for width in widths},
        anchor="w64",
        teachers={"3.0M": trained(shape(192, layers=6), fresh), "1.0M": trained(shape(128), fresh)},
        online_teacher=trained(shape(128), Slice(tokens=LONG_STEPS * STEP), order="stream"),
        corpus=corpus,
        view=View(context=CONTEXT),
        data=Slice(tokens=LONG_STEPS * STEP),
        tokens_per_step=STEP,
        steps=STEPS,
        long_steps=LONG_STEPS,
        checkpoint_steps=STEPS,
        budgets=(STEPS // 2, STEPS, LONG_STEPS),
        optimiser=AdamW(lr=RATE),
        rates=RATE,
        cosine=Cosine(warmup_tokens=64 * STEP),
        wsd=WSD(warmup_tokens=64 * STEP, decay_tokens=STEPS // 5 * STEP, shape="cosine"),
        alpha_wsd=WSDMix(warmup=0.1, decay=0.2, shape="cosine"),
        period=PeriodicMix(cycles=10),
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=65_536), every_tokens=512 * STEP),
            Heldout(data=Slice(split="test", tokens=2**19)),
            Probe(data=Slice(split="test", tokens=16_384)),
        ),
        inspected=Slice(split="test", tokens=65_536),
        long_students=("w32", "w64"),
        star_students=("w48", "w64", "w96"),
    )
