"""The choice of an attention kernel for a run."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pdstudy.core.errors import ConfigError

Attention = Literal["sdpa", "flash_attention_2"]


CAUSAL_SDPA = "pdstudy_causal_sdpa"
"""Name of torch's attention without transformers' building of masks, which reads device values in every forward.

For decoders whose every layer sees all earlier tokens: a ready mask says what is masked, or nothing is.
"""


AttentionInterface.register(CAUSAL_SDPA, sdpa_attention_forward)


def choose(wanted: str, *, precision: str, device: torch.device) -> Attention:
    """The attention for `wanted` ("auto", or one by name). Raises `ConfigError` where it cannot run here.

    "auto" is flash attention where it is installed (extra `[flash]`), on CUDA in bfloat16, else torch's own.
    """
    lacks = []
    if device.type != "cuda":
        lacks.append("a CUDA device")
    if precision != "bfloat16":
        lacks.append("precision='bfloat16'")
    if importlib.util.find_spec("flash_attn") is None:
        lacks.append("the package flash-attn (pip install 'pdstudy[flash]')")
    if wanted == "flash_attention_2" and lacks:
        raise ConfigError(
            f"placement.attention: found 'flash_attention_2'; allowed here: 'sdpa' or 'auto' "
            f"(it needs {', '.join(lacks)})"
        )
    return "sdpa" if wanted == "sdpa" or lacks else "flash_attention_2"
