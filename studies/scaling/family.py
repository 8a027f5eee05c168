"""The models and the recipe of the scaling study: one family of widths, four layers deep, on English prose.

Everything but width and tokens is equal: muP from a base of 32, one peak rate, heads of 16, a tied table of 2,048
byte-pair tokens, contexts of 256, 2,048 tokens a step. Runs of one width share a trunk at a constant rate; each ends in
a decay over the last fifth of its tokens. Text is fresh: the ladder reads the first 2^24 tokens of the training split,
students those after them.
"""

from dataclasses import dataclass

from pdstudy import BPE, ENGLISH, WSD, AdamW, Corpus, Grid, Heldout, MuP, Run, Shape, Slice, View, axis

VOCAB, CONTEXT, STEP = 2048, 256, 2048
BASE_WIDTH = 32
"""Width at which muP is the standard parametrisation."""

RATE = 1.13e-2
"""Peak learning rate of every run: a step of root two below the best of short runs, which is .016 at widths 32 to 256
(`studies/transfer.py`, reports/NOTES.md), since longer runs want lower ones."""

WARMUP = 64 * STEP
"""Tokens of warm-up, the same for every run, so that budgets of a width share a trunk."""

CORPUS = Corpus(sources=ENGLISH, tokenizer=BPE(vocab=VOCAB), validation=0.02, test=0.025)
HELDOUT = (
    Heldout(data=Slice(split="validation", tokens=65_536), every_tokens=2**20),
    Heldout(data=Slice(split="test", tokens=2**19)),
)


@dataclass(frozen=True)
class Extent:
    """Widths and budgets of a scale.

    `flops` is the most that a run of the fits may cost in training; `held_out` are runs above it, as widths and tokens,
    which the laws predict; `budgets` are the FLOPs of profiles at equal compute. `teachers` are runs of the ladder, as
    widths and tokens, from which `students` learn over `student_tokens`.
    """

    widths: tuple[int, ...]
    tokens: tuple[int, ...]
    flops: float
    held_out: tuple[tuple[int, int], ...]
    budgets: tuple[float, ...]
    teachers: tuple[tuple[int, int], ...]
    students: tuple[int, ...]
    student_tokens: tuple[int, ...]

    def has(self, width: int, tokens: int) -> bool:
        """Whether the ladder has the run: two tokens or more per parameter, within the FLOPs, or held out."""
        student = shape(width)
        enough = tokens >= 2 * student.parameters().non_embedding
        affordable = 3 * student.forward_flops(CONTEXT) * tokens <= self.flops
        return (enough and affordable) or (width, tokens) in self.held_out


SCALES = {
    # Two cores for some hours.
    "small": Extent(
        widths=(32, 48, 64, 96, 128, 192, 256),
        tokens=tuple(2**n for n in range(19, 25)),
        flops=1e14,
        held_out=((192, 2**23), (256, 2**23)),
        budgets=(4e12, 8e12, 1.6e13, 3.2e13),
        teachers=((48, 2**24), (64, 2**22), (64, 2**24), (96, 2**22), (128, 2**23)),
        students=(32, 48, 64, 96),
        student_tokens=tuple(2**n for n in range(19, 23)),
    ),
    # A rehearsal of a minute, for tests.
    "tiny": Extent(
        widths=(16, 32, 48),
        tokens=(2**18, 2**19, 2**20),
        flops=2e12,
        held_out=((48, 2**20),),
        budgets=(4e11, 8e11),
        teachers=((32, 2**20), (48, 2**19)),
        students=(16, 32),
        student_tokens=(2**18, 2**19),
    ),
}


def shape(width: int) -> Shape:
    """The member of the family with this width."""
    return Shape(
        width=width,
        layers=4,
        heads=width // 16,
        query_groups=width // 16,
        ffn=8 * width // 3 // 16 * 16,
        vocab=VOCAB,
        init_std=0.0707,
        parametrisation=MuP(base_width=BASE_WIDTH),
    )


def trained(width: int, tokens: int, data: Slice) -> Run:
    """A model of text alone: one of the budgets that end in a decay of their own from the trunk of its width."""
    return Run(
        student=shape(width),
        corpus=CORPUS,
        data=data,
        view=View(context=CONTEXT),
        optimiser=AdamW(lr=RATE),
        schedule=schedule(tokens),
        tokens_per_step=STEP,
        tokens=tokens,
    )


def budget(tokens: int) -> dict[str, object]:
    """Changes of a run that make it end after so many tokens, in a decay of its own from the trunk of its width."""
    return {"tokens": tokens, "schedule": schedule(tokens)}


def schedule(tokens: int) -> WSD:
    """Constant after the warm-up, which all runs of a width share, and down over the last fifth."""
    return WSD(warmup_tokens=WARMUP, decay_tokens=tokens // 5 // STEP * STEP)


def ladder_grid(extent: Extent) -> Grid:
    """The runs of the ladder, by width and tokens."""
    widths = {f"w{width}": width for width in extent.widths}
    budgets = {in_millions(tokens): tokens for tokens in extent.tokens}
    grid = axis("width", {label: shape(width) for label, width in widths.items()}, field="student")
    grid *= axis("tokens", {label: budget(tokens) for label, tokens in budgets.items()})
    return grid.where(lambda arm: extent.has(widths[arm["width"]], budgets[arm["tokens"]]))


def in_millions(tokens: int) -> str:
    """Tokens as labels have them, such as 4.19M."""
    return f"{tokens / 1e6:.3g}M"
