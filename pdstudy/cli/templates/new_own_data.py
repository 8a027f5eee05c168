"""my_study: three students on text of your own, alone and with a teacher of your own."""

from pdstudy import (
    KD, LM, AdamW, Compare, Corpus, Cosine, Cost, Curves, Heldout, LocalFiles, Pretrained, PretrainedTokenizer, Run,
    Shape, SizeLaw, Slice, Study, TopPK, View, axis,
)

TEXT = "text/*.jsonl"  # files or folders: .jsonl, .json, .txt, .parquet, .gz and .zst; the text is the field "text"
TEACHER = "teacher"  # config.json, *.safetensors, tokenizer.json: `hf download OWNER/NAME --local-dir teacher`
TOKENIZER = PretrainedTokenizer(path=TEACHER)  # the teacher's is the students'
CONTEXT = 256  # tokens of a sequence: the teacher must read as many
STEP = 16 * CONTEXT  # tokens per optimiser step
TOKENS = 200 * STEP  # of each run: 819,200, some 4 MB of English; the training part of your text must have as many


def shape(width: int, layers: int) -> Shape:
    return Shape(
        width=width, layers=layers, heads=width // 16, query_groups=width // 32, ffn=3 * width,
        vocab=TOKENIZER.vocab or 32_000,  # rows of the embedding: the tokenizer's ids, once it is here
        init_std=0.4 / width**0.5,  # for models narrower than some 400; else leave it out
    )


def study(scale: str = "mini") -> Study:
    base = Run(
        student=shape(64, 2),
        # Of the documents, 5 % are for validation and 5 % for the test: the slices below must fit into them.
        corpus=Corpus(sources=(LocalFiles(paths=(TEXT,)),), tokenizer=TOKENIZER, validation=0.05, test=0.05),
        data=Slice(tokens=TOKENS),
        view=View(context=CONTEXT),
        optimiser=AdamW(lr=4e-3),
        schedule=Cosine(warmup_tokens=20 * STEP),
        tokens_per_step=STEP,
        tokens=TOKENS,
    )
    kd = KD(teacher=Pretrained(path=TEACHER), truncation=TopPK(p=0.95, k=50), alpha=0.9)
    students = {"w64": shape(64, 2), "w96": shape(96, 2), "w128": shape(128, 3)}
    grid = axis("student", students) * axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(
        name="my_study",
        title="my_study",
        base=base,
        # Peak learning rates fall with the width: look for yours with an axis over "optimiser.lr" and Sweep.
        grid=grid.set("optimiser.lr", lambda arm: {"w64": 8e-3, "w96": 4e-3, "w128": 4e-3}[arm["student"]]),
        baseline={"loss": "LM"},
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=32 * CONTEXT), every_tokens=40 * STEP),
            Heldout(data=Slice(split="test", tokens=64 * CONTEXT)),
        ),
        outputs=(Curves(lines="loss", panels="student"), SizeLaw(lines="loss"), Compare(), Cost()),
    )
