"""Speed of a training step on one thread, against loops without pdstudy. `make bench-train`; `--widths 64 128`.

CPU seconds, variants taking turns, the least of many: ratios hold on a busy machine. A step is 2,048 tokens of context
128 at a vocabulary of 2,048, reading and decoding included. The last line of a block is a whole short run by `train`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, LM, Pretrained, Run
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.truncation import TopPK
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.batch import read_batch, step_sequences
from pdstudy.distill.store.store import StoreReader, open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.models.build_model import build_model, transformers_config
from pdstudy.models.distributed import Ranks, open_ranks
from pdstudy.models.parallelize import lay_out
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients, train
from pdstudy.train.training_job import TrainingJob
from pdstudy.train.weight_update import adamw, clip
from pdstudy.workspace.run_dir import RunDir

VOCAB, CONTEXT, STEP = 2048, 128, 2048
SEQUENCES = 400
ROUNDS, STEPS = 12, 2


def shape(width: int) -> Shape:
    return Shape(width=width, layers=2, heads=4, query_groups=2, ffn=width * 8 // 3 // 2 * 2, vocab=VOCAB)


def make_corpus(folder: Path) -> tuple[Corpus, TokenCorpus]:
    library = Path(json.__file__).parent.parent
    with (folder / "texts.jsonl").open("w") as file:
        for module in sorted(library.glob("*.py")):
            file.write(json.dumps({"text": module.read_text(errors="ignore")}) + "\n")
    declared = Corpus(sources=(LocalFiles(paths=(str(folder / "texts.jsonl"),)),), tokenizer=BPE(vocab=VOCAB))
    build(declared, folder / "corpus")
    return declared, open_corpus(folder / "corpus")


def make_run(declared: Corpus, width: int, objective: LM | KD) -> Run:
    return Run(
        student=shape(width),
        corpus=declared,
        data=Slice(tokens=CONTEXT * SEQUENCES),
        view=View(context=CONTEXT),
        objective=objective,
        optimiser=AdamW(lr=1e-3),
        schedule=Cosine(warmup_tokens=STEP),
        tokens_per_step=STEP,
        steps=10_000,
    )


def make_store(declared: Corpus, corpus: TokenCorpus, folder: Path) -> tuple[KD, StoreReader]:
    """A teacher at its initial weights: its distributions are flat, so that all 50 places of every row are kept."""
    teacher = folder / "teacher"
    config = transformers_config(shape(64))
    config.vocab_size = corpus.vocab
    AutoModelForCausalLM.from_config(config).save_pretrained(teacher)
    shutil.copytree(corpus.tokenizer_dir, teacher, dirs_exist_ok=True)
    objective = KD(teacher=Pretrained(path=str(teacher)), truncation=TopPK(p=1.0, k=50), alpha=0.9)
    assert isinstance(objective.teacher, Pretrained)
    spec = StoreSpec(corpus=declared, view=View(context=CONTEXT), split="train", teacher=objective.teacher)
    sequences = range(SEQUENCES)
    capture(spec, Coverage(p=1.0, k=50), sequences, corpus=corpus, teacher=teacher, directory=folder / "store")
    truncation = objective.truncation
    return objective, open_store(folder / "store", spec=spec, corpus=corpus, wanted=truncation, sequences=sequences)


def ours(
    run: Run, corpus: TokenCorpus, store: StoreReader | None, world: Ranks, placement: Placement
) -> Callable[[], None]:
    model = build_model(run.student, seed=0)
    lay_out(model, placement, world, "float32")
    optimiser = adamw(model, run.optimiser)
    feed = BatchLoader(run, corpus, store, placement, world)
    steps = iter(range(run.num_steps))
    alpha = run.objective.alpha if isinstance(run.objective, KD) else 0.0

    def step() -> None:
        gradients(model, feed, world, next(steps), run.objective, alpha, corpus.vocab)
        clip(model, run.optimiser.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def bare(run: Run, corpus: TokenCorpus) -> Callable[[], None]:
    """What one would write by hand: `model(labels=)`, fused AdamW, clipping, the same batches."""
    model = AutoModelForCausalLM.from_config(transformers_config(run.student), attn_implementation="sdpa")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    stream = corpus.stream("train")
    steps = iter(range(run.num_steps))

    def step() -> None:
        batch = read_batch(stream, run.view, step_sequences(run, next(steps)))
        targets = torch.from_numpy(batch.targets)
        model(input_ids=torch.from_numpy(batch.inputs), labels=targets, shift_labels=targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def seconds(variants: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Least CPU seconds of a step, the variants taking turns: what others do to the caches only adds."""
    for step in variants.values():
        step()
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, step in variants.items():
            began = time.process_time()
            for _ in range(STEPS):
                step()
            spent[name].append((time.process_time() - began) / STEPS)
    return {name: min(times) for name, times in spent.items()}


def by_trainer(run: Run, corpus: TokenCorpus, folder: Path) -> float | None:
    """CPU seconds of a step of `transformers.Trainer`; None where accelerate, which it needs, is not installed."""
    try:
        import accelerate  # noqa: F401
    except ImportError:
        return None
    from transformers import Trainer, TrainerCallback, TrainingArguments

    batch = read_batch(corpus.stream("train"), run.view, np.arange(SEQUENCES))
    rows = [{"input_ids": x, "labels": x} for x in torch.from_numpy(batch.inputs)]
    steps, marks = ROUNDS * STEPS, []

    class Marks(TrainerCallback):
        def on_step_end(self, *arguments: object, **named: object) -> None:
            marks.append(time.process_time())

    settings = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=STEP // CONTEXT, use_cpu=True,
        report_to=[], save_strategy="no", logging_strategy="no", learning_rate=1e-3, optim="adamw_torch_fused",
        dataloader_pin_memory=False, disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(transformers_config(run.student), attn_implementation="sdpa")
    Trainer(model=model, args=settings, train_dataset=rows, callbacks=[Marks()]).train()
    return float(min(np.diff(marks)))


def whole_run(run: Run, corpus: TokenCorpus, folder: Path, steps: int) -> float:
    """CPU seconds of a run by `train`, everything included."""
    directory = RunDir(folder / "run")
    began = time.process_time()
    train(TrainingJob(dataclasses.replace(run, steps=steps), directory.path, corpus.directory))
    spent = time.process_time() - began
    shutil.rmtree(directory.path)
    return spent


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    widths = arguments.parse_args().widths
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        declared, corpus = make_corpus(folder)
        objective, store = make_store(declared, corpus, folder)
        alone = Ranks(torch.device("cpu"))
        for width in widths:
            lm, kd = make_run(declared, width, LM()), make_run(declared, width, objective)
            quarter = Placement(micro_batch_tokens=STEP // 4)
            with open_ranks(replicas=1, sharded=True) as world:
                spent = seconds({
                    "bare loop": bare(lm, corpus),
                    "LM": ours(lm, corpus, None, alone, Placement()),
                    "LM, FSDP2": ours(lm, corpus, None, world, Placement()),
                    "LM, 4 micro-batches": ours(lm, corpus, None, alone, quarter),
                    "LM, 4 micro-batches, FSDP2": ours(lm, corpus, None, world, quarter),
                    "KD, k = 50": ours(kd, corpus, store, alone, Placement()),
                })  # fmt: skip
            trainer = by_trainer(lm, corpus, folder / "trainer")
            total = whole_run(lm, corpus, folder, 40)
            lm_step = spent["LM"]
            print(f"width {width}: {STEP / lm_step:,.0f} tokens per CPU second (LM)")
            print(f"  speed against the bare loop             {spent['bare loop'] / lm_step:.2f}   (0.90 or more)")
            against = (
                "not measured: pip install accelerate" if trainer is None else f"{trainer / lm_step:.2f}   (above 1)"
            )
            print(f"  speed against transformers.Trainer      {against}")
            print(f"  FSDP2 of one rank, time against bare    {spent['LM, FSDP2'] / lm_step:.2f}   (1.10 or less)")
            four = spent["LM, 4 micro-batches, FSDP2"] / spent["LM, 4 micro-batches"]
            print(f"  the same, 4 micro-batches               {four:.2f}")
            print(f"  KD from the store, time against LM      {spent['KD, k = 50'] / lm_step:.2f}   (1.10 or less)")
            print(
                f"  whole run of 40 steps by train          {total:.1f} s CPU, its steps {40 * lm_step:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
