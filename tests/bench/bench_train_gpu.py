"""Training steps on a CUDA device: what distillation costs beside cross-entropy. `make bench-train-gpu`.

A student of 250M parameters in bfloat16, laid out as a run of one rank is, reads the standard library in steps of
131,072 tokens of context 2,048 at a vocabulary of 32,000. Tokens per second are of all that a step does, reading and
decoding of the store included, over the steps after the first two. The teacher is as large as the student and at its
initial weights: its distributions are flat, so that all 50 places of every row are kept. A live one is paid for in
every step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.losses import KLD, Tail
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, LM, Pretrained, Run
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.truncation import TopPK
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.live import LiveTeacher
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.flops import forward_flops
from pdstudy.models.parallelize import lay_out
from pdstudy.models.student_config import transformers_config
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients
from pdstudy.train.recorder import peak_flops
from pdstudy.train.weight_update import adamw, clip

CONTEXT, STEP, SEQUENCES = 2_048, 131_072, 512
STUDENT = Shape(width=1_024, layers=16, heads=16, query_groups=8, ffn=2_816, vocab=32_768)
WARMING = 2


def make_corpus(folder: Path, modules: int = 3_000) -> tuple[Corpus, TokenCorpus]:
    library = Path(json.__file__).parent.parent
    with (folder / "texts.jsonl").open("w") as file:
        for module in sorted(library.rglob("*.py"))[:modules]:
            if "site-packages" not in module.parts:
                file.write(json.dumps({"text": module.read_text(errors="ignore")}) + "\n")
    sources = (LocalFiles(paths=(str(folder / "texts.jsonl"),)),)
    declared = Corpus(sources=sources, tokenizer=BPE(vocab=32_000), validation=0.01, test=0.01)
    build(declared, folder / "corpus")
    return declared, open_corpus(folder / "corpus")


def make_teacher(corpus: TokenCorpus, folder: Path) -> Pretrained:
    config = transformers_config(STUDENT)
    config.vocab_size = corpus.vocab
    with torch.device("cuda"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    shutil.copytree(corpus.tokenizer_dir, folder, dirs_exist_ok=True)
    return Pretrained(path=str(folder), dtype="bfloat16")


def tokens_per_second(
    model: PreTrainedModel, feed: BatchLoader, world: Ranks, run: Run, vocab: int, steps: int
) -> float:
    optimiser, alpha = adamw(model, run.optimiser), 0.9 if isinstance(run.objective, KD) else 0.0
    for step in range(WARMING + steps):
        if step == WARMING:
            torch.cuda.synchronize()
            began = time.perf_counter()
        gradients(model, feed, world, step, run.objective, alpha, vocab)
        clip(model, run.optimiser.clip)
        optimiser.step()
        optimiser.zero_grad()
    torch.cuda.synchronize()
    return steps * STEP / (time.perf_counter() - began)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=10)
    steps = arguments.parse_args().steps
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        declared, corpus = make_corpus(folder)
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {corpus.vocab:,} ids", flush=True)
        teacher = make_teacher(corpus, folder / "teacher")
        view, coverage = View(context=CONTEXT), Coverage(p=1.0, k=50, encoding="small")
        spec = StoreSpec(corpus=declared, view=view, split="train", teacher=teacher)
        for part in (range(SEQUENCES // 16), range(SEQUENCES)):  # the first pays for what is loaded and compiled
            began, new = time.perf_counter(), len(part) if part.stop < SEQUENCES else SEQUENCES - SEQUENCES // 16
            capture(spec, coverage, part, corpus=corpus, teacher=folder / "teacher", directory=folder / "store")
        print(f"capture: {new * CONTEXT / (time.perf_counter() - began):,.0f} tokens/s", flush=True)
        plain = KD(teacher=teacher, truncation=TopPK(p=1.0, k=50), alpha=0.9, stored="coded")
        objectives: dict[str, LM | KD] = {
            "LM": LM(),
            "KD, k = 50": plain,
            "tail bucket, k = 50": dataclasses.replace(plain, rest=Tail(), loss=KLD()),
            "live teacher, k = 50": dataclasses.replace(plain, stored="live"),
        }
        store = open_store(
            folder / "store", spec=spec, corpus=corpus, wanted=plain.truncation, sequences=range(SEQUENCES)
        )
        lm = Run(
            student=STUDENT,
            corpus=declared,
            data=Slice(tokens=CONTEXT * SEQUENCES),
            view=view,
            optimiser=AdamW(lr=1e-4),
            schedule=Cosine(warmup_tokens=STEP),
            tokens_per_step=STEP,
            steps=100,
            precision="bfloat16",
        )
        waiting, ahead = (Placement(micro_batch_tokens=STEP // 4, read_ahead=n) for n in (0, 2))
        peak = peak_flops(torch.cuda.get_device_name()) or float("nan")
        print(f"{'':44}{'tokens/s':>10}{'ratio':>8}{'MFU':>7}{'GiB':>7}")
        with open_ranks(replicas=1, sharded=True) as world:
            for compiled, placements in ((True, (ahead,)), (False, (waiting, ahead))):
                model = build_model(STUDENT, seed=0).to(world.device)
                lay_out(model, dataclasses.replace(ahead, compile=compiled), world, lm.precision)
                for placement in placements:
                    speeds: list[float] = []
                    for label, objective in objectives.items():
                        run = dataclasses.replace(lm, objective=objective)
                        live = isinstance(objective, KD) and objective.stored == "live"
                        reader = store if isinstance(objective, KD) and not live else None
                        teaching = LiveTeacher(folder / "teacher", run, corpus) if live else None
                        feed = BatchLoader(run, corpus, reader, placement, world, live=teaching)
                        torch.cuda.reset_peak_memory_stats()
                        speeds.append(tokens_per_second(model, feed, world, run, corpus.vocab, steps))
                        feed.close()
                        words = f"{label}{', compiled' * compiled}{', reading ahead' * bool(placement.read_ahead)}"
                        mfu = 3 * forward_flops(STUDENT, CONTEXT) * speeds[-1] / peak
                        memory = torch.cuda.max_memory_allocated() / 2**30
                        ratio = speeds[-1] / speeds[0]
                        print(f"{words:44}{speeds[-1]:10,.0f}{ratio:8.3f}{mfu:7.3f}{memory:7.1f}", flush=True)
                        del feed, teaching


if __name__ == "__main__":
    main()
