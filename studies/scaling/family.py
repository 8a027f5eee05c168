"""The models and the recipe of the scaling study: one family of widths, four layers deep, on English prose.

Everything but width and tokens is equal within a scale: muP from a base of 32, one peak rate, heads of 16, a tied table
of 2,048 byte-pair tokens, contexts of 256, 2,048 tokens a step (16,384 on a GPU). Runs of one width share a trunk at a
constant rate; each ends in a decay over the last fifth of its tokens. Text is fresh: the ladder reads the first 2^24
tokens of the training split, students those after them.
"""

from dataclasses import dataclass
from typing import Literal

from pdstudy import (
    BPE,
    CPU_CORE,
    ENGLISH,
    WSD,
    AdamW,
    Corpus,
    Grid,
    Heldout,
    Machine,
    MuP,
    Run,
    Shape,
    Slice,
    View,
    axis,
)

VOCAB, CONTEXT = 2048, 256
BASE_WIDTH = 32
"""Width at which muP is the standard parametrisation."""

RATE = 1.13e-2
"""Peak learning rate of every run: the best at widths 32 and 64 over 4.19M tokens, between .008 and .016
(`rates.py`, `reports/scaling-rates/`)."""

GPU = Machine(name="one H100 or H200 with several small runs on it, a guess", flops_per_second=5e13)
"""A twentieth of the peak: models of less than 10M parameters were never timed there in training."""

CORPUS = Corpus(sources=ENGLISH, tokenizer=BPE(vocab=VOCAB), validation=0.02, test=0.025)
HELDOUT = (
    Heldout(data=Slice(split="validation", tokens=65_536), every_tokens=2**20),
    Heldout(data=Slice(split="test", tokens=2**19)),
)


@dataclass(frozen=True)
class Extent:
    """Widths, budgets and steps of a scale, and the machine at whose rate it is priced.

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
    tokens_per_parameter: float = 2.0
    tokens_per_step: int = 2048
    warmup_tokens: int = 131_072
    precision: Literal["float32", "bfloat16"] = "float32"
    machine: Machine = CPU_CORE

    def has(self, width: int, tokens: int) -> bool:
        """Whether the ladder has the run: enough tokens per parameter, within the FLOPs, or held out."""
        student = shape(width)
        enough = tokens >= self.tokens_per_parameter * student.parameters().non_embedding
        affordable = 3 * student.forward_flops(CONTEXT) * tokens <= self.flops
        return (enough and affordable) or (width, tokens) in self.held_out

    def trained(self, width: int, tokens: int, data: Slice) -> Run:
        """A model of text alone: one of the budgets that end in a decay of their own from the trunk of its width."""
        return Run(
            student=shape(width),
            corpus=CORPUS,
            data=data,
            view=View(context=CONTEXT),
            optimiser=AdamW(lr=RATE),
            schedule=self.schedule(tokens),
            tokens_per_step=self.tokens_per_step,
            tokens=tokens,
            precision=self.precision,
        )

    def budget(self, tokens: int) -> dict[str, object]:
        """Changes of a run that make it end after so many tokens, in a decay of its own from the trunk of its width."""
        return {"tokens": tokens, "schedule": self.schedule(tokens)}

    def schedule(self, tokens: int) -> WSD:
        """Constant after the warm-up, which all runs of a width share, and down over the last fifth."""
        step = self.tokens_per_step
        return WSD(warmup_tokens=self.warmup_tokens, decay_tokens=tokens // 5 // step * step)

    def ladder(self) -> Grid:
        """The runs without a teacher, by width and tokens."""
        widths = {f"w{width}": width for width in self.widths}
        budgets = {in_millions(tokens): tokens for tokens in self.tokens}
        grid = axis("width", {label: shape(width) for label, width in widths.items()}, field="student")
        grid *= axis("tokens", {label: self.budget(tokens) for label, tokens in budgets.items()})
        return grid.where(lambda arm: self.has(widths[arm["width"]], budgets[arm["tokens"]]))


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
    # One H100 or H200 for twelve minutes, several runs at a time. The peak rate was found at eight times fewer tokens a
    # step and for smaller models: `rates.py --scale gpu` comes first.
    "gpu": Extent(
        widths=(128, 192, 256, 384, 512, 768, 1024),
        tokens=tuple(2**n for n in range(20, 25)),
        flops=1.5e15,
        held_out=((768, 2**24), (1024, 2**23)),
        budgets=(1e14, 2e14, 4e14, 8e14),
        teachers=((192, 2**24), (256, 2**22), (256, 2**24), (384, 2**23), (512, 2**24)),
        students=(128, 192, 256, 384),
        student_tokens=tuple(2**n for n in range(20, 24)),
        tokens_per_parameter=0.5,
        tokens_per_step=16_384,
        warmup_tokens=2**18,
        precision="bfloat16",
        machine=GPU,
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


def in_millions(tokens: int) -> str:
    """Tokens as labels have them, such as 4.19M."""
    return f"{tokens / 1e6:.3g}M"
