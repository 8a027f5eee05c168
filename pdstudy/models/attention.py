"""The choice of an attention kernel for a run, and masks that keep to documents whatever a layer's own mask is."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    eager_mask,
    packed_sequence_mask_function,
    sdpa_mask,
)

from pdstudy.config.model import Student
from pdstudy.core.errors import ConfigError
from pdstudy.models.student_config import causal_lm_class, transformers_config

Attention = Literal["sdpa", "eager", "flash_attention_2"]


CAUSAL_SDPA = "pdstudy_causal_sdpa"
"""Name of torch's attention without transformers' building of masks, which reads device values in every forward.

For decoders whose every layer sees all earlier tokens: a ready mask says what is masked, or nothing is.
"""


AttentionInterface.register(CAUSAL_SDPA, sdpa_attention_forward)


_DOCUMENTS: ContextVar[Tensor | None] = ContextVar("documents", default=None)
"""The document number of each token [B, T] while a forward respects documents."""


@contextlib.contextmanager
def respecting(positions: Tensor | None) -> Iterator[None]:
    """Every mask that transformers makes meanwhile keeps to documents, which begin where `positions` [B, T] are 0.

    Families make a mask for each type of layer (full, sliding, chunked). Most of them would see from positions that
    there are several documents, but not all (gpt-oss, OPT and ALiBi models do not).
    """
    token = _DOCUMENTS.set(None if positions is None else (positions == 0).cumsum(1))
    try:
        yield
    finally:
        _DOCUMENTS.reset(token)


def _keep_to_documents(make_mask: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
    """A maker of transformers' masks that looks at the documents of `respecting`."""

    def make(*args: Any, mask_function: Callable[..., Any] = causal_mask_function, **options: Any) -> Tensor | None:
        documents = _DOCUMENTS.get()
        if documents is not None:
            mask_function = and_masks(mask_function, packed_sequence_mask_function(documents))
            options["allow_is_causal_skip"] = False
        return make_mask(*args, mask_function=mask_function, **options)

    return make


AttentionMaskInterface.register("sdpa", _keep_to_documents(sdpa_mask))
AttentionMaskInterface.register("eager", _keep_to_documents(eager_mask))


def choose(wanted: str, *, student: Student, precision: str, device: torch.device) -> Attention:
    """The attention for `wanted` ("auto", or one by name). Raises `ConfigError` where it cannot run here.

    "auto" is flash attention where it is installed (extra `[flash]`), on CUDA in bfloat16, else torch's own; for
    families without that (Gemma-2 caps its scores, gpt-oss has sinks), transformers' plain one.
    """
    family = causal_lm_class(transformers_config(student))
    if wanted == "eager" or (wanted == "auto" and not family._supports_sdpa):
        return "eager"
    if wanted == "sdpa" and not family._supports_sdpa:
        raise ConfigError(f"placement.attention: found 'sdpa'; allowed for {family.__name__}: 'eager' or 'auto'")
    lacks = []
    if not family._supports_flash_attn:
        lacks.append(f"a family that has it, unlike {family.__name__}")
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
