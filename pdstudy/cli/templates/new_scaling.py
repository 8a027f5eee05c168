"""my_study: how does the gain of distillation scale with the student's size and its tokens?"""

import dataclasses

from pdstudy import (
    BPE, KD, LM, AdamW, Compare, Corpus, Cosine, Cost, Heldout, LossByTokens, Packaged, Run, Shape, SizeLaw, Slice,
    Study, TopPK, View, axis,
)

STEP = 1024  # tokens per optimiser step
BUDGETS = {f"{n}k": n * STEP for n in (80, 160, 320, 640)}  # tokens of a run; the longest read 0.66M
RATES = {"w32": 1.6e-2, "w48": 8e-3, "w64": 8e-3, "w96": 4e-3}  # peak learning rates, from a sweep of each size


def shape(width: int, layers: int) -> Shape:
    return Shape(
        width=width, layers=layers, heads=width // 16, query_groups=width // 32, ffn=3 * width, vocab=1024,
        init_std=0.4 / width**0.5,
    )


STUDENTS = {"w32": shape(32, 2), "w48": shape(48, 2), "w64": shape(64, 2), "w96": shape(96, 3)}


def study(scale: str = "mini") -> Study:
    longest = max(BUDGETS.values())
    base = Run(
        student=STUDENTS["w32"],
        corpus=Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=1024), test=0.03),
        data=Slice(tokens=longest),  # every run reads from its beginning: no token is seen twice
        view=View(context=128),
        optimiser=AdamW(lr=8e-3),
        schedule=Cosine(warmup_tokens=20 * STEP),
        tokens_per_step=STEP,
        tokens=longest,
    )
    teacher = dataclasses.replace(
        base, student=shape(128, 3), data=Slice(start=longest, tokens=800 * STEP), optimiser=AdamW(lr=2e-3),
        tokens=800 * STEP,
    )
    kd = KD(teacher=teacher, truncation=TopPK(p=0.95, k=50), alpha=0.9)
    sizes, budgets = axis("student", STUDENTS), axis("budget", BUDGETS, field="tokens")
    grid = sizes * budgets * axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(
        name="my_study",
        title="my_study",
        base=base,
        grid=grid.set("optimiser.lr", lambda arm: RATES[arm["student"]]),
        seeds=(0, 1, 2),
        baseline={"loss": "LM"},
        evaluations=(Heldout(data=Slice(split="test", tokens=65_536)),),
        outputs=(LossByTokens(lines="loss", panels="student"), SizeLaw(lines="loss"), Compare(), Cost()),
    )
