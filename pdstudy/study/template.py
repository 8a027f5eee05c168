"""`pdstudy new`: a commented study file that runs as it is."""

from __future__ import annotations

from pathlib import Path

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import write_bytes

TEMPLATE = '''"""{name}: one line on the question this study asks."""

from pdstudy import (
    BPE, KD, LM, AdamW, Compare, Corpus, Cosine, Cost, Curves, Heldout, Packaged, Run, Shape, Slice, Study, TopPK,
    View, axis,
)  # fmt: skip

STEP = 2048  # tokens per optimiser step, over all devices


def shape(width: int, layers: int) -> Shape:
    # Models this narrow start better from larger weights than the usual 0.02, which is right for widths of thousands.
    return Shape(
        width=width, layers=layers, heads=width // 16, query_groups=width // 32, ffn=3 * width, vocab=1024,
        init_std=0.4 / width**0.5,
    )  # fmt: skip


def study(scale: str = "mini") -> Study:
    # The text: real English (pip fetches 2 MB). LocalFiles(paths=("my/*.jsonl",)) reads yours;
    # StandardLibrary(), Python's own sources, needs no network.
    corpus = Corpus(sources=(Packaged(name="wikipedia-leads"),), tokenizer=BPE(vocab=1024))
    view = View(context=128)

    # The teacher: trained here, on a slice of its own. Pretrained(path="...") takes any transformers causal LM.
    teacher = Run(
        student=shape(96, 3),
        corpus=corpus,
        data=Slice(start=200 * STEP, tokens=400 * STEP),
        view=view,
        optimiser=AdamW(lr=3e-3),
        schedule=Cosine(warmup_tokens=10 * STEP),
        tokens_per_step=STEP,
        tokens=400 * STEP,
    )

    # The base run. Every run of the grid is this one with some fields changed.
    base = Run(
        student=shape(32, 2),
        corpus=corpus,
        data=Slice(start=0, tokens=200 * STEP),
        view=view,
        objective=LM(),
        optimiser=AdamW(lr=8e-3),
        schedule=Cosine(warmup_tokens=10 * STEP),
        tokens_per_step=STEP,
        tokens=200 * STEP,
    )
    # A teacher that is little trained is seldom sure: a cut that leaves out much of it costs more than it teaches.
    kd = KD(teacher=teacher, truncation=TopPK(p=0.95, k=100), alpha=0.9)

    # The grid: axes over any field, combined by * (product), + (one after the other), .zip, .where, .set.
    grid = axis("loss", {{"LM": LM(), "KD": kd}}, field="objective")

    return Study(
        name="{name}",
        title="{name}",
        base=base,
        grid=grid,
        seeds=(0, 1, 2),  # three or more: comparisons are paired by seed
        baseline={{"loss": "LM"}},  # what every other arm is compared with
        evaluations=(
            Heldout(data=Slice(split="validation", tokens=16_384), every_tokens=40 * STEP),
            Heldout(data=Slice(split="test", tokens=32_768)),
        ),
        outputs=(Curves(lines="loss"), Compare(), Cost()),
    )
'''


def write_study(name: str) -> Path:
    """Write `studies/<name>.py`. Raises `ConfigError` for a name that cannot be a file or a file that is there."""
    if not name.replace("_", "a").replace("-", "a").isalnum():
        raise ConfigError(f"name: found {name!r}; allowed: letters, digits, '-' and '_'")
    path = Path("studies") / f"{name}.py"
    if path.exists():
        raise ConfigError(f"{path} exists; choose another name or edit it")
    write_bytes(path, TEMPLATE.format(name=name).encode())
    return path
