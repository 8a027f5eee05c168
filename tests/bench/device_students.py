"""Small students on one device: tokens a second of several processes at a time, and of one with CUDA graphs.

A process trains on random ids, 16,384 tokens of context 512 a step, by a plain loop (a graph cannot hold a loader); all
begin together.
"""

from __future__ import annotations

import subprocess
import sys
import time

import torch
from torch.nn import functional as F

from pdstudy.models.build_model import build_model
from tests.bench.device_setting import DEVICE, SMALL, rate, say, shape, synchronise

STEP, CONTEXT = (512, 64) if SMALL else (16_384, 512)
SECONDS = 1.0 if SMALL else 4.0
"""Seconds that the processes of a round train together."""
CASES = (("1M", (1, 2)), ("10M", (1,))) if SMALL else (("1M", (1, 4, 8, 16)), ("10M", (1, 4, 8, 16)))


class Student:
    """A model, its optimiser and one step on a fixed batch, which a CUDA graph can hold."""

    def __init__(self, size: str) -> None:
        torch.manual_seed(0)
        self.shape = shape(size, CONTEXT)
        self.model = build_model(self.shape, seed=0).to(DEVICE)
        capturable = DEVICE.type == "cuda"
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True, capturable=capturable)
        self.inputs = torch.randint(self.shape.vocab, (STEP // CONTEXT, CONTEXT), device=DEVICE)

    def step(self) -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            logits = self.model(input_ids=self.inputs, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), self.inputs[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad()


def graphed(student: Student) -> float:
    """Tokens a second of one process whose whole step is one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            student.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        student.step()
    return rate(graph.replay, STEP, 50)


def together(size: str, number: int) -> float:
    """Tokens a second of `number` processes, which wait for a word to begin; the sum of what each counts."""
    command = [sys.executable, "-m", __spec__.name, *(["--small"] if SMALL else []), "--size", size]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    streams = [(worker.stdin, worker.stdout) for worker in workers]
    for _, output in streams:
        assert output is not None
        output.readline()
    for begin, _ in streams:
        assert begin is not None
        begin.write("begin\n")
        begin.flush()
    total = sum(float(output.readline()) for _, output in streams if output is not None)
    for worker in workers:
        worker.wait()
    return total


def work(size: str) -> None:
    student = Student(size)
    for _ in range(3):
        student.step()
    synchronise()
    print("ready", flush=True)
    sys.stdin.readline()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        student.step()
        steps += 1
        if steps % 8 == 0:
            synchronise()
    synchronise()
    print(steps * STEP / (time.perf_counter() - began), flush=True)


def main() -> None:
    found: list[dict[str, object]] = []
    for size, numbers in CASES:
        for number in numbers:
            found.append({"student": size, "processes": number, "tokens_per_second": together(size, number)})
            say({"students": found})
        if DEVICE.type == "cuda":
            found.append({"student": size, "processes": 1, "graph": True, "tokens_per_second": graphed(Student(size))})
            say({"students": found})


if __name__ == "__main__":
    if "--size" in sys.argv:
        work(sys.argv[sys.argv.index("--size") + 1])
    else:
        main()
