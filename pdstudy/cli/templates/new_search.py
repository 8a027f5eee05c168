"""my_study: which mixture of losses serves a small student best? `pdstudy search my_study` looks for it."""

import dataclasses

from pdstudy import (
    BPE, KD, KLD, LM, AdamW, Corpus, Cosine, Heldout, Packaged, ReverseKL, Run, Shape, Slice, Tail, TopPK, View,
)
from pdstudy.search import Final, Halving, Log, Search, Simplex

STEP = 2048  # tokens per optimiser step
VALIDATION = Heldout(data=Slice(split="validation", tokens=16_384), every_tokens=40 * STEP)
TEST = Heldout(data=Slice(split="test", tokens=32_768))


def shape(width: int, layers: int) -> Shape:
    return Shape(
        width=width, layers=layers, heads=width // 16, query_groups=width // 32, ffn=3 * width, vocab=1024,
        init_std=0.4 / width**0.5,
    )


def search(scale: str = "mini") -> Search:
    lm = Run(
        student=shape(32, 2),
        corpus=Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=1024)),
        data=Slice(tokens=200 * STEP),
        view=View(context=128),
        optimiser=AdamW(lr=8e-3),
        schedule=Cosine(warmup_tokens=10 * STEP),
        tokens_per_step=STEP,
        tokens=200 * STEP,
    )
    teacher = dataclasses.replace(
        lm, student=shape(96, 3), data=Slice(start=200 * STEP, tokens=400 * STEP), optimiser=AdamW(lr=3e-3),
        tokens=400 * STEP,
    )
    # What is not kept of the teacher is one bucket of both models, so that reverse KL is finite.
    kd = KD(teacher=teacher, truncation=TopPK(p=0.95, k=100), alpha=0.9, rest=Tail())
    return Search(
        name="my_study",
        base=dataclasses.replace(lm, objective=kd),
        space={
            "objective": Simplex({"LM": LM(), "KL": KLD(), "reverse KL": ReverseKL()}),  # weights that sum to 1
            "optimiser.lr": Log(2e-3, 3e-2),
        },
        validation=VALIDATION,  # its loss at the end is what is searched for
        trials=20,
        pruner=Halving((lm.num_tokens // 2,), keep=1 / 3),  # a third of the trials go on after half of the tokens
        # The best trials again, on fresh seeds, beside these: `pdstudy search my_study --final`.
        final=Final(controls={"LM": {"objective": LM()}, "KD": {"objective": kd}}, evaluations=(VALIDATION, TEST)),
    )
