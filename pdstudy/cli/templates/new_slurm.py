"""my_study: a grid for a cluster. Say once what yours is like, in pdstudy.toml here or in ~/.config/pdstudy/:

    profile = "ours"
    [profiles.ours]
    partition = "gpu"
    account = "abc"
    gpus = 1
    setup = ["module load cuda"]

`pdstudy submit my_study --dry-run` shows the jobs and sends nothing; pdstudy/slurm/README.md has the rest.
"""

import dataclasses

from pdstudy import (
    BPE, ENGLISH, H100, KD, LM, AdamW, Compare, Corpus, Cosine, Cost, Execution, Heldout, Run, Shape, SizeLaw, Slice,
    Study, TopPK, View, axis,
)

STEP = 32 * 256  # tokens per optimiser step, over all devices
TOKENS = 200 * STEP


def shape(width: int, layers: int) -> Shape:
    return Shape(width=width, layers=layers, heads=width // 32, query_groups=width // 64, ffn=3 * width, vocab=4096)


def study(scale: str = "mini") -> Study:
    base = Run(
        student=shape(128, 4),
        corpus=Corpus(sources=ENGLISH, tokenizer=BPE(vocab=4096)),
        data=Slice(tokens=TOKENS),
        view=View(context=256),
        optimiser=AdamW(lr=2e-3),
        schedule=Cosine(warmup_tokens=10 * STEP),
        tokens_per_step=STEP,
        tokens=TOKENS,
    )
    teacher = dataclasses.replace(base, student=shape(384, 8), data=Slice(start=TOKENS, tokens=TOKENS))
    kd = KD(teacher=teacher, truncation=TopPK(p=0.95, k=100), alpha=0.9)
    students = {"w128": shape(128, 4), "w192": shape(192, 6), "w256": shape(256, 6)}
    return Study(
        name="my_study",
        title="my_study",
        base=base,
        grid=axis("student", students) * axis("loss", {"LM": LM(), "KD": kd}, field="objective"),
        seeds=(0, 1, 2),
        baseline={"loss": "LM"},
        evaluations=(Heldout(data=Slice(split="test", tokens=131_072)),),
        outputs=(SizeLaw(lines="loss"), Compare(), Cost()),
        machine=H100,  # the device that it is priced on
        # What the jobs of this study need beside the profile; never part of what a run is.
        executions=(Execution(stage="student", minutes=120, pack=2), Execution(stage="teacher", minutes=240)),
    )
