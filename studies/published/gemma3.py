"""Gemma 3's grid (arXiv 2503.19786, figure 8): teacher size by tokens, for one student.

From the report: 256 ids per token drawn from the teacher's distribution, renormalised, cross-entropy; a vocabulary of
262k; a 1B model trained on 2T tokens; a small teacher is ahead over few tokens, a large one over many. Which student
and teachers, which budgets and which schedule its figure has is not known to us. Here they are Gemma 3's own 1B under
its 4B and 27B (shapes that give the report's parameters, 0.7B, 3.2B and 25.6B without embeddings), and the 2T tokens
halved five times, each with a decay of a tenth from one trunk. The batch (1,024 x 4,096), the rate and the corpus are
defaults, too. Put the folders and the text at the paths below.
"""

from pdstudy import (
    H100,
    KD,
    LM,
    NLL,
    WSD,
    AdamW,
    Compare,
    Corpus,
    Cost,
    Heldout,
    LocalFiles,
    LossByTokens,
    Placement,
    Pretrained,
    PretrainedTokenizer,
    Run,
    Sampled,
    Shape,
    Slice,
    Study,
    View,
    axis,
)

CONTEXT, VOCAB, STEP = 4096, 262_144, 1024 * 4096
STEPS = 2 * 10**12 // STEP
BUDGETS = {"paper": tuple(STEPS // 2**halvings for halvings in range(5, -1, -1))}


def gemma(width: int, layers: int, heads: int, groups: int, ffn: int, head_dim: int) -> Shape:
    return Shape(
        width=width, layers=layers, heads=heads, query_groups=groups, ffn=ffn, vocab=VOCAB, head_dim=head_dim
    )  # fmt: skip


STUDENT = gemma(1152, 26, 4, 1, 6912, 256)
TEACHERS = {"4B": gemma(2560, 34, 8, 4, 10_240, 256), "27B": gemma(5376, 62, 32, 16, 21_504, 128)}


def study(scale: str = "paper") -> Study:
    """One scale: `paper`."""

    def kd(size: str) -> KD:
        teacher = Pretrained(path=f"teachers/gemma-3-{size.lower()}", dtype="bfloat16", shape=TEACHERS[size])
        return KD(teacher=teacher, truncation=Sampled(draws=256), loss=NLL(), alpha=1.0, stored="coded")

    def budget(steps: int) -> dict[str, object]:
        return {"steps": steps, "schedule": WSD(warmup_tokens=2000 * STEP, decay_tokens=steps // 10 * STEP)}

    base = Run(
        student=STUDENT,
        corpus=Corpus(
            sources=(LocalFiles(paths=("corpus/*.jsonl.gz",)),),
            tokenizer=PretrainedTokenizer(path="teachers/gemma-3-4b"),
            validation=0.0005,
            test=0.0005,
        ),
        data=Slice(tokens=STEPS * STEP),
        view=View(context=CONTEXT),
        optimiser=AdamW(lr=6e-4),
        schedule=WSD(warmup_tokens=2000 * STEP, decay_tokens=STEPS // 10 * STEP),
        tokens_per_step=STEP,
        steps=STEPS,
        precision="bfloat16",
    )
    return Study(
        name="scaling-gemma3",
        base=base,
        title="Teacher size by tokens",
        about="A small and a large teacher for one student, over budgets from 62.5B to 2T tokens.",
        grid=axis("tokens", {str(steps * STEP): budget(steps) for steps in BUDGETS[scale]})
        * axis("teacher", {"none": LM(), **{size: kd(size) for size in TEACHERS}}, field="objective"),
        seeds=(0,),
        baseline={"teacher": "none"},
        evaluations=(Heldout(data=Slice(split="validation", tokens=1024 * CONTEXT)),
                     Heldout(data=Slice(split="test", tokens=4096 * CONTEXT))),
        outputs=(LossByTokens(lines="teacher"), Compare(), Cost()),
        placement=Placement(micro_batch_tokens=4 * CONTEXT, activation_checkpointing=True),
        machine=H100,
        elsewhere=True,
    )  # fmt: skip
