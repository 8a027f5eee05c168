"""MFU of a step of ours against a compiled loop without pdstudy, on the same batches and the same device."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from pdstudy.config.data import Slice, View
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import LM, Run
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch, step_sequences
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.flops import forward_flops
from pdstudy.models.parallelize import lay_out
from pdstudy.models.student_config import transformers_config
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients
from pdstudy.train.recorder import peak_flops
from pdstudy.train.weight_update import adamw, clip
from tests.bench.bench_train_gpu import make_corpus
from tests.bench.device_setting import DEVICE, NAME, SMALL, rate, say, shape

STEP, MICRO = (1_024, 512) if SMALL else (131_072, 32_768)
"""Tokens of a step, and of a forward pass."""
CASES = (("250M", 2_048), ("250M", 4_096), ("1B", 2_048), ("1B", 4_096))
STEPS = 2 if SMALL else 5


def ours(run: Run, corpus: TokenCorpus, ranks: Ranks) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of the trainer, and what closes it."""
    model = build_model(run.student, seed=0).to(DEVICE)
    lay_out(model, Placement(compile=not SMALL), ranks, run.precision)
    loader = BatchLoader(run, corpus, None, Placement(micro_batch_tokens=MICRO, read_ahead=2), ranks)
    optimiser, steps = adamw(model, run.optimiser), iter(range(run.num_steps))

    def step() -> None:
        gradients(model, loader, ranks, next(steps), LM(), 0.0, corpus.vocab)
        clip(model, run.optimiser.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step, loader.close


def bare(run: Run, corpus: TokenCorpus) -> Callable[[], None]:
    """The loop that one would write by hand: float32 weights under autocast, all compiled, fused AdamW, clipping."""
    model = AutoModelForCausalLM.from_config(transformers_config(run.student), attn_implementation="sdpa").to(DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    stream, steps = corpus.stream("train"), iter(range(run.num_steps))

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum") / STEP

    compiled = loss if SMALL else torch.compile(loss)

    def step() -> None:
        batch = read_batch(stream, run.view, step_sequences(run, next(steps)))
        inputs, targets = (torch.from_numpy(x).to(DEVICE, non_blocking=True) for x in (batch.inputs, batch.targets))
        for part in zip(inputs.split(MICRO // run.view.context), targets.split(MICRO // run.view.context)):
            compiled(*part).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def main() -> None:
    peak = peak_flops(NAME)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, open_ranks(replicas=1, sharded=True) as ranks:
        declared, corpus = make_corpus(Path(name), modules=100 if SMALL else 3_000)
        for size, context in CASES:
            context //= 16 if SMALL else 1
            student = dataclasses.replace(shape(size, context), vocab=-(-corpus.vocab // 64) * 64)
            run = Run(
                student=student,
                corpus=declared,
                data=Slice(tokens=4 * STEP),
                view=View(context=context),
                optimiser=AdamW(lr=1e-4),
                schedule=Cosine(warmup_tokens=STEP),
                tokens_per_step=STEP,
                steps=100,
                precision="bfloat16",
            )
            row: dict[str, object] = {"student": size, "context": context}
            row["bare"] = rate(bare(run, corpus), STEP, STEPS)
            torch.compiler.reset()
            step, close = ours(run, corpus, ranks)
            row["ours"] = rate(step, STEP, STEPS)
            close()
            row["ratio"] = row["ours"] / row["bare"]  # type: ignore[operator]
            flops = 3 * forward_flops(student, context)
            row["mfu"], row["bare_mfu"] = (None if peak is None else flops * row[n] / peak for n in ("ours", "bare"))  # type: ignore[operator]
            rows.append(row)
            say({"training": rows})
            del step, close
            torch.compiler.reset()
            if DEVICE.type == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
