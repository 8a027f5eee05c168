"""The smallest study that is real: local text, a BPE, a teacher, logits, LM and KD students. Under a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pdstudy.config.evaluation import Evaluation, split_of
from pdstudy.config.run import Run
from pdstudy.core.files import write_json
from pdstudy.core.identity import fingerprint
from pdstudy.workspace.layout import Workspace

TEXT = """
from pdstudy import *

STEP = 256

def shape(width):
    return Shape(width=width, layers=1, heads=2, query_groups=1, ffn=2 * width, vocab=300)

def study(scale="mini"):
    corpus = Corpus(sources=(LocalFiles(paths=("{texts}/*.txt",)),), tokenizer=BPE(vocab=300), validation=0.1, test=0.1)
    view = View(context=32)
    def run(width, start, steps, **changes):
        return Run(student=shape(width), corpus=corpus, data=Slice(start=start, tokens=steps * STEP), view=view,
                   optimiser=AdamW(lr=5e-3), schedule=Cosine(warmup_tokens=2 * STEP), tokens_per_step=STEP,
                   steps=steps, **changes)
    kd = KD(teacher=run(24, {steps} * STEP, 20), truncation=TopPK(p=0.9, k=20), alpha=0.8)
    return Study(
        name="tiny", base=run(16, 0, {steps}), seeds=(0, 1), baseline={{"loss": "LM"}},
        grid=axis("loss", {{"LM": LM(), "KD": kd}}, field="objective"),
        evaluations=(Heldout(data=Slice(split="validation", tokens=512), every_tokens=5 * STEP),
                     Heldout(data=Slice(split="test", tokens=512))),
        outputs=(Curves(lines="loss"), SizeLaw(lines="loss"), Compare(), Cost()),
        about="Tiny & <quick>.",
    )
"""


def write_tiny(folder: Path, steps: int = 20) -> Path:
    """Texts out of the standard library (stable within this Python) and the study file; returns its path."""
    import collections
    import contextlib
    import inspect
    import json
    import random
    import textwrap

    texts = folder / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    number = 0
    for module in (collections, contextlib, inspect, json, random, textwrap):
        for paragraph in inspect.getsource(module).split("\n\n\n"):
            (texts / f"{number:04d}.txt").write_text(paragraph)
            number += 1
    path = folder / "tiny.py"
    path.write_text(TEXT.format(texts=texts, steps=steps))
    return path


def leave_finished(
    workspace: Workspace, run: Run, *, seconds: float = 2.0, ranks: int = 1, evaluations: Sequence[Evaluation] = ()
) -> None:
    """Write what a finished run leaves, as far as plans and reports read it: 8 GFLOP in so many seconds, loss 3."""
    directory = workspace.run(run)
    directory.create(run)
    write_json(directory.path / "provenance.json", {"ranks": ranks})
    rows = [
        {"eval": fingerprint(e), "split": split_of(e), "loss": 3.0, "bits_per_byte": 1.0, "step": run.num_steps,
         "tokens": run.num_tokens, "final": True}
        for e in evaluations
    ]  # fmt: skip
    result = {"state": "done", "evals": rows, "seconds": {"train": seconds}, "flops": {"student": 8e9}}
    write_json(directory.path / "result.json", result)
    write_json(directory.path / "status.json", {"state": "done", "time": 0.0})
