"""The models and the recipe of Busbridge et al. 2025, Distillation Scaling Laws (arXiv 2502.08606v2), as a `Run`.

From the paper: a width of 128 per layer, heads of 128, no grouped queries, a gated feed-forward of 8/3 of the width, a
vocabulary of 32,168, sequences of 4,096 tokens of English C4, 90B of its tokens for teachers and 90B for students,
2,000 warm-up steps and a cosine to a thousandth of the peak, weight decay 1e-4, gradients clipped at 1, a z-loss of
1e-4, pure distillation (alpha 1, tau 1, forward KL) of whole distributions. Feed-forwards rounded up to multiples of
128 give the sizes that it names, 198M to 7.75B without embeddings.

Not known to us, and so defaults: the batch (256 sequences), which sizes stand between those that it names, whether
embeddings are tied, and the base width of the muP in which it trains at one peak rate of 1e-2 (128). Put C4 and a
tokenizer at the paths below.
"""

import dataclasses
import itertools
import math

from pdstudy import (
    H100,
    KD,
    KLD,
    LM,
    AdamW,
    Corpus,
    Cosine,
    Cost,
    Grid,
    Heldout,
    LocalFiles,
    MuP,
    Placement,
    PretrainedTokenizer,
    Run,
    Shape,
    Slice,
    Study,
    TopPK,
    View,
)

CONTEXT, VOCAB, STEP = 4096, 32_168, 256 * 4096
HALF = 90 * 10**9 // CONTEXT * CONTEXT
RATIO = 20
"""Tokens per non-embedding parameter of what the paper calls fixed-M models, near Chinchilla's optimum."""

LAYERS = {
    "143M": 9, "198M": 10, "266M": 11, "546M": 14, "975M": 17, "1.82B": 21, "2.72B": 24, "4.82B": 29, "7.75B": 34,
    "12.6B": 40,
}  # fmt: skip
BUDGETS = {"paper": (3e19, 1e20, 3e20, 1e21, 3e21)}
"""FLOPs of training, by scale. The last is named in one of the paper's captions."""


def shape(size: str) -> Shape:
    """The member of the family with about so many non-embedding parameters."""
    width = 128 * LAYERS[size]
    return Shape(
        width=width,
        layers=LAYERS[size],
        heads=LAYERS[size],
        query_groups=LAYERS[size],
        ffn=math.ceil(8 * width / 3 / 128) * 128,
        vocab=VOCAB,
        rope_theta=500_000,
        parametrisation=MuP(base_width=128),
    )


def trained(size: str, *, tokens: float, start: int, objective: LM | KD = LM()) -> Run:  # noqa: B008
    """A model on the half of C4 that begins at `start`, gone round again where `tokens` are more."""
    return Run(
        student=shape(size),
        corpus=Corpus(
            sources=(LocalFiles(paths=("c4/*.jsonl.gz",)),),
            tokenizer=PretrainedTokenizer(path="c4/tokenizer"),
            validation=0.001,
            test=0.001,
        ),
        data=Slice(start=start, tokens=HALF),
        view=View(context=CONTEXT),
        objective=objective,
        optimiser=AdamW(lr=1e-2, weight_decay=1e-4),
        schedule=Cosine(warmup_tokens=2000 * STEP, final=1e-3),
        tokens_per_step=STEP,
        steps=round(tokens / STEP),
        z_loss=1e-4,
        precision="bfloat16",
    )


def by_ratio(size: str, ratio: int = RATIO) -> float:
    """Tokens of a model that sees `ratio` for each of its non-embedding parameters."""
    return ratio * shape(size).parameters().non_embedding


def forward_flops(size: str) -> float:
    """Forward FLOPs per token as the paper counts them, 2N + 2 width x vocab + 2 layers x width x context: attention to
    what comes before a token alone, half of what a plan here counts."""
    student = shape(size)
    return student.forward_flops(CONTEXT) - 2 * student.layers * student.width * CONTEXT


def isoflop(budgets: tuple[float, ...]) -> dict[str, tuple[str, float]]:
    """Size and tokens of the models whose training comes to each budget, where that is 2 to 500 tokens per parameter
    and at least twice the warm-up."""
    found = {}
    for budget, size in itertools.product(budgets, LAYERS):
        tokens = budget / (3 * forward_flops(size))
        if 2 <= tokens / shape(size).parameters().non_embedding <= 500 and tokens >= 2 * 2000 * STEP:
            found[f"{size} at {budget:.0e}".replace("e+", "e")] = (size, tokens)
    return found


def teacher(size: str, tokens: float) -> KD:
    """Pure distillation from one of the family, which runs in the student's step: no store holds whole
    distributions."""
    run = trained(size, tokens=tokens, start=HALF)
    return KD(teacher=run, truncation=TopPK(p=1, k=None), loss=KLD(), alpha=1.0, stored="live")


def student(size: str, tokens: float) -> dict[str, object]:
    """Changes of the base run that make it this student."""
    run = trained(size, tokens=tokens, start=0)
    return {name: getattr(run, name) for name in ("student", "steps")}


def planned(name: str, *, title: str, about: str, grid: Grid) -> Study:
    heldout = Slice(split="test", tokens=2048 * CONTEXT)
    return Study(
        name=name,
        base=trained("546M", tokens=by_ratio("546M"), start=0),
        title=title,
        about=about,
        grid=grid,
        seeds=(0,),
        evaluations=(Heldout(data=heldout), Heldout(data=dataclasses.replace(heldout, split="validation"))),
        outputs=(Cost(),),
        placement=Placement(micro_batch_tokens=4 * CONTEXT, activation_checkpointing=True),
        machine=H100,
        elsewhere=True,
    )
