"""Teacher inference into a store of k = 50 against the teacher's forward pass alone, over the same sequences."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from pdstudy.config.data import View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.run import Pretrained
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.teacher.capture import capture
from pdstudy.models.student_config import transformers_config
from tests.bench.bench_train_gpu import make_corpus
from tests.bench.device_setting import DEVICE, SMALL, rate, say, shape

CONTEXT, SEQUENCES = (128, 16) if SMALL else (2_048, 256)
BATCH = 4 if SMALL else 16
"""Sequences of a forward pass where it is measured alone."""


def make_teacher(size: str, corpus: TokenCorpus, folder: Path) -> Pretrained:
    config = transformers_config(shape(size, CONTEXT))
    config.vocab_size = corpus.vocab
    with DEVICE:
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    shutil.copytree(corpus.tokenizer_dir, folder, dirs_exist_ok=True)
    return Pretrained(path=str(folder), dtype="bfloat16")


@torch.no_grad()
def forward_alone(folder: Path, view: View, corpus: TokenCorpus) -> float:
    """Tokens a second from ids to logits, which are dropped."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(DEVICE)
    batch = read_batch(corpus.stream("train"), view, np.arange(BATCH))
    inputs = torch.from_numpy(batch.inputs).to(DEVICE)
    return rate(lambda: model(input_ids=inputs, use_cache=False).logits, inputs.numel(), max(2, SEQUENCES // BATCH))


def main() -> None:
    logging.disable_progress_bar()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        declared, corpus = make_corpus(folder, modules=100 if SMALL else 3_000)
        view, coverage = View(context=CONTEXT), Coverage(p=1.0, k=50, encoding="small")
        for size in ("250M", "1B"):
            path, store = folder / size, folder / f"store-{size}"
            spec = StoreSpec(corpus=declared, view=view, split="train", teacher=make_teacher(size, corpus, path))
            seconds = []
            for stop in (SEQUENCES // 8, SEQUENCES):  # the first pays for what is loaded and compiled
                began = time.perf_counter()
                capture(spec, coverage, range(stop), corpus=corpus, teacher=path, directory=store)
                seconds.append(time.perf_counter() - began)
            row: dict[str, object] = {"teacher": size, "forward": forward_alone(path, view, corpus)}
            row["capture"] = (SEQUENCES - SEQUENCES // 8) * CONTEXT / seconds[1]  # loading and hashing included
            row["ratio"] = row["forward"] / row["capture"]  # type: ignore[operator]
            rows.append(row)
            say({"capture": rows})


if __name__ == "__main__":
    main()
