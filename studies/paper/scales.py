"""The scales at which the studies of the paper run: `mini` on two CPU cores, `paper` as Peng et al. 2024 had them.

`small` is for two cores and a day, of sizes and budgets at which the findings can show (`small_scale.py`).
`node` is the paper's on one node of eight GPUs, with a Qwen3-8B as the teacher (`node_scale.py`: copy it for a scale of
yours). `tasks` is `mini` with the paper's protocol behind it: each model is finetuned, then evaluated on tasks (needs
`pdstudy[eval]`).

Add yours to `SCALES`: a copy of one of these with another ladder, other teachers, your corpus. `pdstudy plan
studies/paper --scale YOURS` shows what it comes to.
"""

import dataclasses
from typing import Literal

from paper.node_scale import node
from paper.scale import Scale
from paper.small_scale import small

from pdstudy import (
    BPE,
    H100,
    OFFLINE_SUITE,
    PAPER_SUITE,
    WSD,
    AdamW,
    Adaptive,
    Corpus,
    Cosine,
    Definitions,
    Downstream,
    Finetuning,
    Heldout,
    HeldoutResponses,
    Instructions,
    Kept,
    LocalExamples,
    LocalFiles,
    Packaged,
    PeriodicMix,
    Placement,
    Pretrained,
    PretrainedTokenizer,
    Probe,
    Run,
    Shape,
    Slice,
    TopPK,
    View,
    WSDMix,
)


def _mini() -> Scale:
    """Students of 22k to 305k parameters (without embeddings) at the budget and the rates of `studies/lr.py`."""
    vocab, step, steps, long_steps, teacher_steps = 1024, 1024, 320, 1280, 800
    tokens = steps * step

    def shape(width: int, layers: int) -> Shape:
        ffn = 8 * width // 3 // 8 * 8
        return Shape(
            width=width,
            layers=layers,
            heads=width // 16,
            query_groups=width // 32,
            ffn=ffn,
            vocab=vocab,
            # Models this narrow stay on an early plateau on some seeds from the usual 0.02 (reports/NOTES.md).
            init_std=round(0.4 * width**-0.5, 4),
        )

    corpus = Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=vocab), validation=0.03, test=0.03)
    view = View(context=128)

    def teacher(width: int, layers: int, rate: float) -> Run:
        """Of a size that students approach, on text that no student reads: that of the long budget lies before it."""
        return trained(shape(width, layers), Slice(start=2 * tokens, tokens=teacher_steps * step), rate)

    def trained(student: Shape, data: Slice, rate: float, order: Literal["shuffled", "stream"] = "shuffled") -> Run:
        return Run(
            student=student,
            corpus=corpus,
            data=data,
            view=view,
            optimiser=AdamW(lr=rate),
            schedule=Cosine(warmup_tokens=40 * step),
            tokens_per_step=step,
            tokens=data.tokens,
            order=order,
        )

    return Scale(
        name="mini",
        students={"w32": shape(32, 2), "w48": shape(48, 2), "w64": shape(64, 2), "w96": shape(96, 3)},
        anchor="w96",
        # Named by all their parameters (0.5M and 1.6M without embeddings); their rates are from studies/teachers.py.
        teachers={"0.7M": teacher(128, 3, 2e-3), "1.8M": teacher(192, 4, 1.4e-3)},
        online_teacher=trained(shape(128, 3), Slice(tokens=2 * tokens), 2e-3, order="stream"),
        corpus=corpus,
        view=view,
        data=Slice(tokens=2 * tokens),
        tokens_per_step=step,
        steps=steps,
        long_steps=long_steps,
        checkpoint_steps=steps,
        budgets=(steps // 2, steps, 2 * steps),
        optimiser=AdamW(lr=4e-3),
        # From studies/lr.py (reports/NOTES.md), for LM and for KD at alpha 0.9.
        rates={
            ("w32", "LM"): 1.6e-2, ("w48", "LM"): 8e-3, ("w64", "LM"): 8e-3, ("w96", "LM"): 4e-3,
            ("w32", "KD"): 1.6e-2, ("w48", "KD"): 1.6e-2, ("w64", "KD"): 8e-3, ("w96", "KD"): 4e-3,
        },
        cosine=Cosine(warmup_tokens=32 * step),
        wsd=WSD(warmup_tokens=32 * step, decay_tokens=64 * step, shape="cosine"),
        alpha_wsd=WSDMix(warmup=0.1, decay=0.2, shape="cosine"),
        period=PeriodicMix(cycles=10),
        # Means over 32,768 tokens of the smaller teacher: 2.44, and 4.04 nats.
        by_spread=Adaptive(by="std", reference=2.44),
        by_entropy=Adaptive(by="entropy", reference=4.04),
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=8_192), every_tokens=64 * step),
            Heldout(data=Slice(split="test", tokens=64_512)),  # all of its test text, in whole sequences
            Probe(data=Slice(split="test", tokens=4_096)),
        ),
        inspected=Slice(split="test", tokens=32_768),
        ps=(0.5, 0.7, 0.85, 0.95),
        ks=(1, 10, 50, 100),
        taus=(0.1, 0.5, 1.0, 2.0, 5.0),
        alphas=(0.0, 0.1, 0.5, 0.7, 0.9, 1.0),
        long_students=("w32", "w64"),
        star_students=("w48", "w64", "w96"),
    )  # fmt: skip


def _tasks() -> Scale:
    """The runs of `mini`, each then finetuned on as many tokens of definitions as of fresh text, and six task sets.

    A quarter of a run's steps at a tenth of its anchor's rate. The definitions are a dictionary's, no evaluation's.
    """
    mini = _mini()
    step, tokens = mini.tokens_per_step, mini.tokens // 4
    (teacher, *_) = mini.teachers.values()
    assert not isinstance(teacher, Pretrained)
    definitions = Instructions(sources=(Definitions(name="dictionary"),), share=0.5)
    finetune = Finetuning(
        instructions=definitions,
        data=Slice(start=teacher.data.start + teacher.data.tokens, tokens=tokens // 2),
        tokens=tokens,
        optimiser=AdamW(lr=4e-4),
        schedule=Cosine(warmup_tokens=8 * step),
    )
    return dataclasses.replace(
        mini,
        name="tasks",
        evaluations=(*mini.evaluations, HeldoutResponses(instructions=definitions, tokens=16_384)),
        downstream=(Downstream(tasks=OFFLINE_SUITE, limit=100, finetune=finetune),),
    )


def _paper() -> Scale:
    """Table 7's students, GLM-4-9B and 32B, 11,921 steps of 2048 x 4096 tokens (59,604 for the study of tokens).

    Put the teachers and the text at the paths below, relative to where `pdstudy` is called (links will do). What the
    paper does not say (its section and appendix were searched through summaries alone) has these defaults: warm-up 1 %,
    decay 10 % with a cosine's shape for learning rate and alpha alike, a cosine down to a tenth, AdamW at 0.9, 0.95 and
    0.1 as in the Llama reports, alpha_max 1 in its Table 5 and 0.9 in PD*, linear schedules between 0 and 1, ten
    periods. The peak rate, 6e-4, is from one summary. The 32B teacher's shape is that of the GLM-4-32B-0414 published
    later. Every model is finetuned on 20B tokens before its tasks, half of them instructions: the text is what
    follows the long budget's, the peak rate is where pre-training's ended. The references of the adaptive temperatures
    are guesses until a store's columns have been looked at.
    """
    vocab, context = 151_552, 4096
    step = 2048 * context
    steps, long_steps = 11_921, 59_604

    def shape(width: int, ffn: int, layers: int, heads: int, groups: int, tied: bool = False) -> Shape:
        return Shape(width=width, layers=layers, heads=heads, query_groups=groups, ffn=ffn, vocab=vocab, tied=tied)

    nine = shape(4096, 13_696, 40, 32, 2)
    finetune = Finetuning(
        instructions=Instructions(sources=(LocalExamples(paths=("instructions/*.jsonl",)),), share=0.5),
        data=Slice(start=long_steps * step, tokens=2384 * step // 2),
        tokens=2384 * step,
        optimiser=AdamW(lr=6e-5),
        schedule=Cosine(warmup_tokens=24 * step),
    )
    corpus = Corpus(
        sources=(LocalFiles(paths=("corpus/*.jsonl.gz",)),),
        tokenizer=PretrainedTokenizer(path="teachers/glm-4-9b"),
        validation=0.0005,
        test=0.0005,
    )
    # The size, tokens and windows of the paper's online teacher are not known: here 9B on the 500B tokens of S11.
    online = Run(
        student=nine,
        corpus=corpus,
        data=Slice(tokens=long_steps * step),
        view=View(context=context),
        optimiser=AdamW(lr=3e-4),
        schedule=Cosine(warmup_tokens=596 * step),
        tokens_per_step=step,
        steps=long_steps,
        precision="bfloat16",
        order="stream",
    )
    return Scale(
        name="paper",
        students={
            "330M": shape(1024, 4096, 12, 16, 2, tied=True),
            "670M": shape(1024, 4096, 24, 16, 2),
            "1.9B": shape(2048, 6912, 24, 16, 2),
            "3.8B": shape(3072, 8192, 28, 24, 8),
            "6.8B": shape(4096, 12_800, 28, 32, 8),
        },
        anchor="1.9B",
        teachers={
            "9B": Pretrained(path="teachers/glm-4-9b", dtype="bfloat16", shape=nine),
            "32B": Pretrained(
                path="teachers/glm-4-32b",
                dtype="bfloat16",
                shape=Shape(
                    width=6144, layers=61, heads=48, query_groups=2, ffn=23_040, vocab=vocab, tied=False, head_dim=128
                ),
            ),
        },
        online_teacher=online,
        corpus=corpus,
        view=View(context=context),
        data=Slice(tokens=long_steps * step),
        tokens_per_step=step,
        steps=steps,
        long_steps=long_steps,
        checkpoint_steps=10_000,
        optimiser=AdamW(lr=6e-4),
        rates=6e-4,
        cosine=Cosine(warmup_tokens=119 * step),
        wsd=WSD(warmup_tokens=119 * step, decay_tokens=1192 * step, shape="cosine"),
        alpha_wsd=WSDMix(warmup=0.01, decay=0.1, shape="cosine"),
        by_spread=Adaptive(by="std", reference=3.0),
        by_entropy=Adaptive(by="entropy", reference=2.0),
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=1024 * context), every_tokens=1000 * step),
            Heldout(data=Slice(split="test", tokens=4096 * context)),
            Probe(data=Slice(split="test", tokens=2441 * context)),
        ),
        # Kept logits are means over 10M tokens in the paper.
        inspected=Slice(split="test", tokens=2441 * context),
        downstream=(Downstream(tasks=PAPER_SUITE, finetune=finetune),),
        long_students=("1.9B", "3.8B"),
        star_students=("1.9B", "3.8B", "6.8B"),
        seeds=(0,),
        precision="bfloat16",
        controls=False,
        elsewhere=True,
        # Figure 2 at p = 0.95; the 15 TB that the paper counts for 100B tokens are 150 bytes a token.
        kept=tuple(
            Kept(cut=TopPK(p=0.95, k=k), entries=entries, source="Peng et al. 2024", bytes_per_entry=4)
            for k, entries in ((100, 37), (None, 265))
        ),
        machine=H100,
        placement=Placement(micro_batch_tokens=4 * context, activation_checkpointing=True, replicas=1),
    )


SCALES = {"mini": _mini(), "tasks": _tasks(), "paper": _paper(), "node": node(_paper()), "small": small(_mini())}
