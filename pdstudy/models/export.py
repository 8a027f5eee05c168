"""Writing a model as a transformers folder: weights, configuration, tokenizer and a model card."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from pdstudy.config.run import Run
from pdstudy.core.files import sync, write_bytes
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.head import vocabulary_tensors
from pdstudy.distill.teacher.weights import write_digests
from pdstudy.models.model_card import model_card


def export(
    config: PretrainedConfig,
    weights: dict[str, Tensor],
    folder: Path,
    *,
    run: Run,
    key: str,
    corpus: TokenCorpus,
    steps: int,
    evals: list[dict[str, Any]],
) -> None:
    """Write `folder`, whole or not at all, so that `AutoModelForCausalLM.from_pretrained` gives the trained model.

    `weights` are the full weights on the CPU, after `steps` steps. Padding rows of the vocabulary are cut off:
    transformers would give them probability, and the model was trained without.
    """
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    parameters = write_model(
        config, weights, partial, vocab=corpus.vocab, bos=corpus.bos, eos=corpus.eos, context=run.view.context
    )
    shutil.copytree(corpus.tokenizer_dir, partial, dirs_exist_ok=True)
    write_digests(partial)
    for file in partial.iterdir():
        file.chmod(0o644)  # safetensors are written readable by their owner alone
        sync(file)
    write_bytes(partial / "README.md", model_card(run, key, steps, parameters, evals).encode())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def write_model(
    config: PretrainedConfig,
    weights: dict[str, Tensor],
    folder: Path,
    *,
    vocab: int,
    bos: int | None,
    eos: int,
    context: int,
) -> int:
    """Write configuration and weights to `folder`, its vocabulary cut to `vocab` rows; returns the parameters written.

    The configuration says how many positions were trained, `context`, where nothing else depends on that number: it is
    the size of a table of learned positions, and scaled rotary positions are computed from it.
    """
    config = copy.deepcopy(config)
    config.vocab_size = vocab
    config.eos_token_id = eos
    config.bos_token_id = eos if bos is None else bos
    config.use_cache = True
    if _plain_positions(config):
        config.max_position_embeddings = context
    with torch.device("meta"):
        exported: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    cut = vocabulary_tensors(exported)
    exported.load_state_dict(
        {name: value[:vocab] if name in cut else value for name, value in weights.items()}, assign=True
    )
    exported.tie_weights()
    logging.disable_progress_bar()
    try:
        exported.save_pretrained(folder)
    except SafetensorError as error:  # a full disk, in another's words
        raise OSError(str(error)) from error
    return int(exported.num_parameters())


def _plain_positions(config: PretrainedConfig) -> bool:
    """Whether all positions are rotary ones of the default type, which do not depend on the greatest position."""
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        return False
    layers = [rope] if "rope_type" in rope else list(rope.values())  # one for all layers, or one for each type
    return all(isinstance(each, dict) and each.get("rope_type") == "default" for each in layers)
