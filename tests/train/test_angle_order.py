"""Truncation bends the gradient, sampling does not: RS-KD's order (arXiv 2503.16870, its poster), on a real small case.

`make bench-angles` measures the same with a real teacher.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pdstudy.config.data import Slice
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch
from pdstudy.evaluate.gradient_angles import angles
from pdstudy.models.build_model import load_exported
from pdstudy.workspace.run_dir import RunDir
from tests.train.one_run import train_run

SEQUENCES, AT_ONCE = 96, 48
TEACHER = Shape(width=64, layers=2, heads=4, query_groups=2, ffn=128, vocab=512)


@pytest.mark.slow
def test_less_truncation_is_a_smaller_angle_and_sampling_the_smallest(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    teacher_run = dataclasses.replace(
        small_run, student=TEACHER, data=Slice(tokens=64 * 400, start=64 * 1000), steps=80, optimiser=AdamW(lr=5e-3),
    )  # fmt: skip
    models = {}
    for name, run in {"student": small_run, "teacher": teacher_run}.items():
        directory = RunDir(tmp_path / name)
        assert train_run(run, directory, corpus=corpus, store=None, evaluations=()) == "done"
        models[name] = load_exported(directory.model)
    stream = corpus.stream("train")

    def batches() -> Iterator[tuple[MicroBatch, Tensor]]:
        for start in range(400, 400 + SEQUENCES, AT_ONCE):
            text = read_batch(stream, small_run.view, np.arange(start, start + AT_ONCE))
            with torch.no_grad():
                logits = models["teacher"](torch.from_numpy(text.inputs)).logits.flatten(0, 1)
            yield make_micro_batch(text, np.arange(AT_ONCE)), logits

    unread = Pretrained(path="unread")
    objectives = {f"top-{k}": KD(teacher=unread, truncation=TopPK(p=1.0, k=k)) for k in (3, 12, 50)}
    objectives["drawn"] = KD(teacher=unread, truncation=Sampled(draws=50))
    *_, found = angles(models["student"], batches(), objectives, corpus.vocab)
    degrees = {name: angle for name, (angle, _) in found.items()}
    ratios = {name: ratio for name, (_, ratio) in found.items()}
    print(found)
    assert degrees["top-3"] > degrees["top-12"] > degrees["top-50"] > 2 * degrees["drawn"]
    assert ratios["top-3"] > ratios["top-12"] > ratios["top-50"] > 1
    assert abs(ratios["drawn"] - 1) < 0.1
