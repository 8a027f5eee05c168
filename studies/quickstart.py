"""The quickstart: does distillation help, and does it help small students more than large ones?

A teacher of about half a million parameters is trained on its own slice of real English text; its inference over
another slice gives the logits; students of four sizes learn from the text alone (LM) and from text and teacher (KD),
three seeds each, at learning rates tuned by `studies/lr.py`. About eight minutes on two CPU cores.
"""

from pdstudy import (
    BPE,
    KD,
    LM,
    AdamW,
    Compare,
    Corpus,
    Cosine,
    Cost,
    Curves,
    Heldout,
    Packaged,
    Run,
    Shape,
    SizeLaw,
    Slice,
    Source,
    StandardLibrary,
    Study,
    TopPK,
    View,
    axis,
)

VOCAB = 1024
STEP = 1024  # tokens per optimiser step
STUDENT_TOKENS = 320 * STEP  # 327,680
TEACHER_TOKENS = 800 * STEP  # 819,200


def shape(width: int, layers: int) -> Shape:
    ffn = 8 * width // 3 // 8 * 8
    return Shape(
        width=width,
        layers=layers,
        heads=width // 16,
        query_groups=width // 32,
        ffn=ffn,
        vocab=VOCAB,
        # Models this narrow stay on an early plateau on some seeds from the usual 0.02 (reports/NOTES.md).
        init_std=round(0.4 * width**-0.5, 4),
    )


STUDENTS = {"w32": shape(32, 2), "w48": shape(48, 2), "w64": shape(64, 2), "w96": shape(96, 3)}

# Peak learning rates by size and objective, from studies/lr.py (reports/NOTES.md has the curves).
RATES = {
    ("w32", "LM"): 1.6e-2, ("w48", "LM"): 8e-3, ("w64", "LM"): 8e-3, ("w96", "LM"): 4e-3,
    ("w32", "KD"): 1.6e-2, ("w48", "KD"): 1.6e-2, ("w64", "KD"): 8e-3, ("w96", "KD"): 4e-3,
}  # fmt: skip


def base(corpus: Corpus) -> tuple[Run, KD]:
    """The LM run that the grid changes, and the distillation objective with its teacher."""
    view = View(context=128)
    teacher = Run(
        student=shape(128, 3),
        corpus=corpus,
        data=Slice(start=STUDENT_TOKENS, tokens=TEACHER_TOKENS),
        view=view,
        optimiser=AdamW(lr=2e-3),
        schedule=Cosine(warmup_tokens=40 * STEP),
        tokens_per_step=STEP,
        tokens=TEACHER_TOKENS,
    )
    student = Run(
        student=STUDENTS["w32"],
        corpus=corpus,
        data=Slice(tokens=STUDENT_TOKENS),
        view=view,
        optimiser=AdamW(lr=8e-3),
        schedule=Cosine(warmup_tokens=32 * STEP),
        tokens_per_step=STEP,
        tokens=STUDENT_TOKENS,
    )
    return student, KD(teacher=teacher, truncation=TopPK(p=0.95, k=50), alpha=0.9)


def corpus(scale: str) -> Corpus:
    sources: dict[str, tuple[Source, ...]] = {
        "mini": (Packaged(name="wikipedia-leads"),),
        "offline": (StandardLibrary(),),
    }
    return Corpus(sources=sources[scale], tokenizer=BPE(vocab=VOCAB), validation=0.03, test=0.03)


HELDOUT = (
    Heldout(data=Slice(split="validation", tokens=8_192), every_tokens=64 * STEP),
    Heldout(data=Slice(split="test", tokens=32_768)),
)


def study(scale: str = "mini") -> Study:
    """Scales: `mini` (fetches 2 MB of Wikipedia leads by pip) and `offline` (Python's own sources)."""
    student, kd = base(corpus(scale))
    grid = axis("student", STUDENTS) * axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(
        name="quickstart" if scale == "mini" else f"quickstart-{scale}",
        title="Does distillation help, and whom?",
        about="Students of four sizes, trained on text alone (LM) and with a teacher (KD), paired by seed.",
        base=student,
        grid=grid.set("optimiser.lr", lambda arm: RATES[arm["student"], arm["loss"]]),
        seeds=(0, 1, 2),
        baseline={"loss": "LM"},
        evaluations=HELDOUT,
        outputs=(Curves(lines="loss", panels="student"), SizeLaw(lines="loss"), Compare(), Cost()),
    )
