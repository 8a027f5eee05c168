"""Reading a model from a transformers folder: all of its weights, as they were written, or a refusal.

Nothing from a folder is executed: no remote code, no pickles. A folder that pdstudy wrote says in `DIGESTS` what its
files hash to.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.utils import logging

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256, read_json, write_json

DIGESTS = "weights.json"
"""File of a model folder with the sha256 of each of its files by name: a digit of config.json changes every logit."""


def weight_files(folder: Path) -> list[Path]:
    """The *.safetensors of a folder. Raises `ConfigError` where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(
            f"{folder} holds no *.safetensors, so it is no model to load; save it there with save_pretrained"
        )
    return files


def weights_sha256(folder: Path) -> str:
    """Hash model.safetensors, or the hashes of all its parts, by sha256. Raises `ConfigError` where there are none."""
    digests = [file_sha256(file) for file in weight_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def write_digests(folder: Path) -> None:
    """Note what the files of a model in `folder` hash to."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != DIGESTS)
    write_json(folder / DIGESTS, {file.name: file_sha256(file) for file in files})


def check_digests(folder: Path) -> None:
    """Raise `ConfigError` where a file of a model is not the one that was written."""
    for name, digest in (read_json(folder / DIGESTS) or {}).items():
        file = folder / name
        if not file.exists() or file_sha256(file) != digest:
            found = "it is missing" if not file.exists() else f"its sha256 is not the one in {DIGESTS}"
            raise ConfigError(f"{file} is damaged: {found}; restore it, or move {folder.parent} away and run again")


def load_causal_lm(folder: Path, **options: Any) -> PreTrainedModel:
    """The causal LM in `folder`; `options` are those of `from_pretrained`. A model of images and text is one, too: of
    text alone it uses its language model.

    Raises `ConfigError` where a file is damaged or unreadable, or lacks weights that the configuration declares:
    transformers would draw those at random and say so in a log alone.
    """
    if not folder.is_dir():
        raise ConfigError(f"no model at {folder}: there is no such folder")
    files = weight_files(folder)
    check_digests(folder)
    logging.disable_progress_bar()
    try:
        model, report = _auto_class(folder).from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise ConfigError(
            f"no transformers model can be read from {_culprit(files) or folder}: {_line(error)}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        found = ", ".join(missing[:3])
        extra = sorted(report["unexpected_keys"])
        beside = f"; it has {extra[0]} and {len(extra) - 1} other weights of unknown names" if extra else ""
        raise ConfigError(
            f"{folder} lacks {len(missing)} weights of its configuration, {found}, which would be random{beside}; "
            f"restore the lost file, or save the model again (of a compiled one: model._orig_mod.save_pretrained)"
        )
    return model


def _auto_class(folder: Path) -> Any:
    """The class that loads a folder's model with its output head."""
    config = type(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    only_with_images = config in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and config not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if only_with_images else AutoModelForCausalLM


def _culprit(files: list[Path]) -> Path | None:
    """The first weight file that is cut short or otherwise no safetensors."""
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError, ValueError):
            return file
    index = next(iter(files[0].parent.glob("*.safetensors.index.json")), None)
    try:
        named = set(json.loads(index.read_text())["weight_map"].values()) if index else set()
    except (ValueError, KeyError):
        return index
    return next((files[0].parent / name for name in sorted(named - {file.name for file in files})), None)


def _line(error: BaseException) -> str:
    """An error of another library as one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


@torch.no_grad()
def check_finite(logits: torch.Tensor, teacher: Path, sequences: list[int]) -> None:
    """Raise `ConfigError` where a teacher's logits [sequences, positions, vocabulary] are not all numbers."""
    low, high = (found.float() for found in logits.aminmax(dim=-1))
    wrong = ~(torch.isfinite(low) & torch.isfinite(high))
    if wrong.any():
        row, position = wrong.nonzero()[0].tolist()
        raise ConfigError(
            f"the teacher {teacher} has logits that are not numbers ({high[row, position]:g}), first at position "
            f"{position} of sequence {sequences[row]}; load it in a wider type (Pretrained(dtype='float32')), or "
            f"take another one"
        )
