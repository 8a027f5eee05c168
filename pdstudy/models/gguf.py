"""Converting a GGUF file to the transformers folder that a teacher is read from."""

from __future__ import annotations

import copy
import os
import shutil
import struct
from pathlib import Path

from pdstudy.core.errors import ConfigError


def from_gguf(gguf: Path, folder: Path) -> None:
    """Write the model in `gguf`, its weights dequantised to bfloat16, and its tokenizer to `folder`, whole or not.

    Does nothing where the folder exists. Needs the extra `[gguf]`; raises `ConfigError` without it, and where the file
    lacks weights or is damaged. Some minutes and five times the file's size in memory. Then `Pretrained(path=folder)`
    is the teacher, and `PretrainedTokenizer(path=folder)` the tokenizer of its corpus.
    """
    if folder.exists():
        return
    try:
        import gguf as _  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"reading {gguf.name} needs the package gguf: pip install 'pdstudy[gguf]'") from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, LookupError, struct.error) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"no model can be read from {gguf}: {type(error).__name__}: {reason}") from error
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(f"{gguf} lacks {len(missing)} weights of its model, {missing[0]}, which would be random")
    # transformers refuses to save what it believes to be quantised still: hand the weights to a model of the same
    # configuration without that mark.
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        plain.save_pretrained(partial)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False).save_pretrained(
            partial
        )
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
