"""How far a truncation's gradient is from full distillation's, in angle and norm. `make bench-angles`.

SmolLM2-135M teaches a small student that was trained on the data alone for a while, over technical English (`smollm`).
RS-KD's poster (arXiv 2503.16870; 3B to 300M) has 58 degrees and 2.4 for the 12 most probable ids, 48 and 1.8 for 50, 30
and 1.3 for 300, 4 and 1.0 for 12 ids drawn. Shown are sums over more and more tokens. A quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator

import smollm
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from pdstudy.config.model import Shape
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.evaluate.gradient_angles import angles
from pdstudy.models.build_model import build_model

TEACHER = Pretrained(path="SmolLM2-135M-Instruct")
DRAWS = (20, 50)
OBJECTIVES = {
    **{f"top-{k}": KD(teacher=TEACHER, truncation=TopPK(p=1.0, k=k)) for k in (12, 50, 300, 512)},
    **{f"{draws} draws": KD(teacher=TEACHER, truncation=Sampled(draws=draws)) for draws in DRAWS},
}
CONTEXT = smollm.CONTEXT


def batch_of(text: Tensor, start: int, sequences: int = 1) -> MicroBatch:
    stop = start + sequences * CONTEXT
    return MicroBatch(text[start:stop].view(sequences, CONTEXT), text[start + 1 : stop + 1])


def student(text: Tensor, steps: int, width: int) -> PreTrainedModel:
    """A student after `steps` steps of 1,024 tokens on the data alone, over all of `text`, again and again."""
    shape = Shape(width=width, layers=2, heads=4, query_groups=2, ffn=8 * width // 3, vocab=smollm.VOCAB)
    model = build_model(shape, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95))
    pairs = (len(text) - 1) // (2 * CONTEXT)
    for step in range(steps):
        batch = batch_of(text, step % pairs * 2 * CONTEXT, 2)
        loss, parts = model.distillation_loss(
            batch, objective=LM(), alpha=0.0, divisor=2.0 * CONTEXT, vocab=smollm.VOCAB
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"\rstep {step + 1}: {parts['lm'] / (2 * CONTEXT):.2f} nats", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return model


def batches(text: Tensor, tokens: int, distinct: dict[int, list[float]]) -> Iterator[tuple[MicroBatch, Tensor]]:
    """`distinct` is filled with how many different ids so many draws have on average, batch by batch."""
    teacher = AutoModelForCausalLM.from_pretrained(smollm.teacher(), dtype=torch.float32).eval()
    for start in range(0, tokens, CONTEXT):
        batch = batch_of(text, start)
        with torch.no_grad():
            logits = teacher(batch.inputs, use_cache=False).logits[0]
            missed = torch.log1p(-torch.softmax(logits, 1))
        for draws in DRAWS:
            distinct.setdefault(draws, []).append(-torch.expm1(draws * missed).sum(1).mean().item())
        yield batch, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--steps", type=int, default=60, help="steps that the student was trained")
    parser.add_argument("--width", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text = smollm.text()
    model = student(text[asked.tokens + 1 :], asked.steps, asked.width)
    print(f"student of width {asked.width} after {asked.steps} steps on data; angle in degrees and ratio of norms")
    print(f"{'tokens':>8}" + "".join(f"{name:>16}" for name in OBJECTIVES), flush=True)
    distinct: dict[int, list[float]] = {}
    found = angles(model, batches(text, asked.tokens, distinct), OBJECTIVES, smollm.VOCAB)
    for done, figures in enumerate(found, 1):
        if done % 8 == 0:
            row = "".join(f"{angle:10.1f} {ratio:5.2f}" for angle, ratio in figures.values())
            print(f"{done * CONTEXT:8,}{row}", flush=True)
    for draws, means in distinct.items():
        print(f"{draws} draws are {statistics.mean(means):.1f} different ids")


if __name__ == "__main__":
    main()
