"""The scale `node`: the paper's studies on one node of eight GPUs, with a Qwen3-8B as the teacher.

A pattern for a scale of your own: the paper's, with other students, another teacher, other text, shorter runs and three
seeds. The teacher's tokenizer is the students', and `vocab` the rows of their embedding. Put the teacher's folder
(`save_pretrained`: weights, config, tokenizer) at `teachers/qwen3-8b` and parquet files at `text/`; until then
the plan is priced as declared.
"""

import dataclasses

from paper.scale import Scale

from pdstudy import (
    PAPER_SUITE,
    WSD,
    Corpus,
    Cosine,
    Downstream,
    Heldout,
    LocalFiles,
    Pretrained,
    PretrainedTokenizer,
    Probe,
    Shape,
    Slice,
    WSDMix,
)

STEP, CONTEXT = 512 * 4096, 4096
"""Tokens of a step, and of a sequence."""

QWEN, VOCAB = "teachers/qwen3-8b", 151_936


def qwen(width: int, layers: int) -> Shape:
    """A student in the proportions of Qwen3."""
    return Shape(width=width, layers=layers, heads=width // 64, query_groups=width // 128, ffn=3 * width, vocab=VOCAB)


def node(paper: Scale) -> Scale:
    """The scale of the paper, changed to fit a node."""
    # To price it before its folder is here.
    eight = Shape(width=4096, layers=36, heads=32, query_groups=8, ffn=12_288, vocab=VOCAB, tied=False)
    text = Corpus(
        sources=(LocalFiles(paths=("text/*.parquet",)),),
        tokenizer=PretrainedTokenizer(path=QWEN),
        validation=0.001,
        test=0.001,
    )
    return dataclasses.replace(
        paper,
        name="node",
        students={"100M": qwen(512, 8), "200M": qwen(768, 12), "460M": qwen(1024, 24)},
        anchor="200M",
        long_students=("200M",),
        star_students=("200M", "460M"),
        teachers={"8B": Pretrained(path=QWEN, dtype="bfloat16", shape=eight)},
        corpus=text,
        tokens_per_step=STEP,
        steps=1_000,  # 2.1B tokens
        long_steps=4_000,
        checkpoint_steps=1_000,
        data=Slice(tokens=4_000 * STEP),
        # Trained here, on the text of S11: S12's students read its first and its last 1,000 steps.
        online_teacher=dataclasses.replace(
            paper.online_teacher,
            student=qwen(1280, 24),
            corpus=text,
            data=Slice(tokens=4_000 * STEP),
            schedule=Cosine(warmup_tokens=40 * STEP),
            tokens_per_step=STEP,
            steps=4_000,
        ),
        # Peak rates by student and loss: look for them first, with a sweep such as studies/lr.py.
        rates={
            (name, loss): 2e-3 if name == "100M" else 1e-3 for name in ("100M", "200M", "460M") for loss in ("LM", "KD")
        },
        cosine=Cosine(warmup_tokens=100 * STEP),
        wsd=WSD(warmup_tokens=100 * STEP, decay_tokens=100 * STEP, shape="cosine"),
        alpha_wsd=WSDMix(warmup=0.1, decay=0.1, shape="cosine"),
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=256 * CONTEXT), every_tokens=100 * STEP),
            Heldout(data=Slice(split="test", tokens=1024 * CONTEXT)),
            Probe(data=Slice(split="test", tokens=64 * CONTEXT)),
        ),
        downstream=(
            Downstream(tasks=PAPER_SUITE),
        ),  # finetune=Finetuning(...), as in SCALES["paper"], with instructions of yours
        seeds=(0, 1, 2),
        # What the paper lacks: LM at the compute of student and teacher inference, and on online windows.
        controls=True,
        kept=(),
    )
