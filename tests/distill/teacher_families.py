"""Small teachers of the families of transformers, stored and live, against transformers' own logits.

`python -m tests.distill.teacher_families` prints what holds of each; tests/models/families.py has it as columns.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from pdstudy.config.data import BPE, Corpus, Slice, View
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.model import Shape, TransformersConfig
from pdstudy.config.optimizer import AdamW, Cosine
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.micro_batch import make_micro_batch
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.live import LiveTeacher
from pdstudy.models.student_config import transformers_config
from tests.core.tiny import write_tiny

VIEW = View(context=32)
SEQUENCES = range(1, 7)
WHOLE = TopPK(p=1, k=None)
PADDING = 5
"""Rows of a teacher's vocabulary beyond the tokenizer's."""

WITH_IMAGES: Mapping[str, tuple[str, str]] = {
    "gemma3": ("Gemma3ForConditionalGeneration", "gemma3_text"),
    "mistral3": ("Mistral3ForConditionalGeneration", "mistral"),
    "llava": ("LlavaForConditionalGeneration", "llama"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "qwen2"),
}
"""Models of images and text: their class, and the family of the text part."""


_KEPT = tempfile.TemporaryDirectory(prefix="families-")  # until this process ends


@functools.cache
def shared_corpus() -> tuple[Corpus, TokenCorpus]:
    """Modules of the standard library as a corpus of 300 tokens, in a folder of its own."""
    folder = Path(_KEPT.name)
    write_tiny(folder)
    declared = Corpus(sources=(LocalFiles(paths=(str(folder / "texts" / "*.txt"),)),), tokenizer=BPE(vocab=300),
                      validation=0.1, test=0.1)  # fmt: skip
    build(declared, folder / "built")
    return declared, open_corpus(folder / "built")


@torch.no_grad()
def save_moved(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model all of whose parameters are away from their neutral values."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def save_teacher(student: TransformersConfig, folder: Path) -> Path:
    """Save a model of a student's family, with the vocabulary of the corpus and some rows more."""
    wider = dataclasses.replace(student, vocab=shared_corpus()[1].vocab + PADDING)
    torch.manual_seed(0)
    return save_moved(AutoModelForCausalLM.from_config(transformers_config(wider)), folder)


def save_with_images(name: str, text: PretrainedConfig, folder: Path) -> Path:
    """Save a model of images and text around a text part of these sizes."""
    architecture = getattr(transformers, WITH_IMAGES[name][0])
    config = architecture.config_class()
    values = {**text.to_dict(), "vocab_size": shared_corpus()[1].vocab + PADDING}
    for key in ("model_type", "architectures", "transformers_version"):
        values.pop(key, None)
    vision = config.vision_config
    for key in ("hidden_size", "embed_dim"):
        if hasattr(vision, key):
            setattr(vision, key, 32)
    for key in ("num_hidden_layers", "depth"):
        if hasattr(vision, key):
            setattr(vision, key, 1)
    for key, size in (("num_attention_heads", 2), ("num_heads", 2), ("intermediate_size", 32), ("image_size", 28),
                      ("patch_size", 14), ("out_hidden_size", text.hidden_size), ("head_dim", 16)):  # fmt: skip
        if hasattr(vision, key):
            setattr(vision, key, size)
    for key, value in values.items():
        if hasattr(config.text_config, key):
            setattr(config.text_config, key, value)
    if name == "qwen2_5_vl":
        config.text_config.rope_parameters = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    torch.manual_seed(0)
    return save_moved(architecture(config), folder)


@torch.no_grad()
def dense_log_probs(folder: Path) -> Tensor:
    """Log-probabilities [N, vocab] by transformers alone, normalised in float64."""
    _, corpus = shared_corpus()
    try:
        model = AutoModelForCausalLM.from_pretrained(folder)
    except ValueError:  # one of images and text
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    inputs = torch.from_numpy(read_batch(corpus.stream("train"), VIEW, np.array(SEQUENCES)).inputs)
    logits = model.eval()(input_ids=inputs, use_cache=False).logits[..., : corpus.vocab]
    return torch.log_softmax(logits.flatten(0, 1).double(), 1)


def stored_log_probs(folder: Path) -> Tensor:
    """The same out of a store that is captured of the folder."""
    declared, corpus = shared_corpus()
    spec = StoreSpec(corpus=declared, view=VIEW, split="train", teacher=Pretrained(path=str(folder)))
    with tempfile.TemporaryDirectory() as store:
        everything = Coverage(p=1.0, k=None)
        capture(spec, everything, SEQUENCES, corpus=corpus, teacher=folder, directory=Path(store))
        reader = open_store(Path(store), spec=spec, corpus=corpus, wanted=everything, sequences=SEQUENCES)
        signal = reader.signal(np.array(SEQUENCES), WHOLE)
    return torch.empty_like(signal.log_probs).scatter_(1, signal.ids, signal.log_probs)


def live_log_probs(folder: Path) -> Tensor:
    """The same of a teacher that runs in the step."""
    declared, corpus = shared_corpus()
    run = Run(
        student=Shape(width=16, layers=1, heads=2, query_groups=1, ffn=32, vocab=corpus.vocab), corpus=declared,
        data=Slice(tokens=320), view=VIEW, optimiser=AdamW(lr=1e-3), schedule=Cosine(warmup_tokens=0),
        objective=KD(teacher=Pretrained(path=str(folder)), truncation=WHOLE, stored="live"),
        tokens_per_step=32, steps=1,
    )  # fmt: skip
    batch = read_batch(corpus.stream("train"), VIEW, np.array(SEQUENCES))
    signal = LiveTeacher(folder, run, corpus).signal(make_micro_batch(batch, np.arange(len(SEQUENCES))))
    return signal.rows(slice(None)).log_probs


def differences(folder: Path) -> dict[str, float | str]:
    """Largest difference in log-probabilities, over their standard deviation, by way; or why a way is refused."""
    want = dense_log_probs(folder)
    ways: dict[str, Callable[[Path], Tensor]] = {"stored": stored_log_probs, "live": live_log_probs}
    found: dict[str, float | str] = {}
    for name, way in ways.items():
        try:
            found[name] = float((way(folder).double() - want).abs().max() / want.std())
        except ConfigError as error:
            found[name] = str(error)
    return found


@functools.cache
def taught(student: TransformersConfig) -> dict[str, float | str]:
    """`differences` of a small teacher of a student's kind."""
    with tempfile.TemporaryDirectory() as folder:
        return differences(save_teacher(student, Path(folder)))


def column(student: TransformersConfig, way: str) -> str:
    """What a table says of a family's teachers."""
    found = taught(student)[way]
    return f"refused: {found}" if isinstance(found, str) else f"{found:.0e}" if found else "0"


def taught_with_images(name: str, text: TransformersConfig) -> dict[str, float | str]:
    """`differences` of a small teacher of images and text."""
    with tempfile.TemporaryDirectory() as folder:
        return differences(save_with_images(name, transformers_config(text), Path(folder)))


def _print_all() -> None:
    from tests.models.families import FAMILIES, student_of

    def say(name: str, made: Callable[[], Any]) -> None:
        sys.stdout.write(f"{name} {made()}\n")

    for family in FAMILIES:
        say(family, functools.partial(taught, student_of(family)))
    for name, (_, family) in WITH_IMAGES.items():
        say(name, functools.partial(taught_with_images, name, student_of(family)))


if __name__ == "__main__":
    _print_all()
