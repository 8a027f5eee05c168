"""A small model of the same kind as a large one: fewer and narrower layers, short windows, few ids."""

from __future__ import annotations

import copy
from typing import Any

from transformers import PretrainedConfig

WINDOW = 5
"""Tokens of a reduced sliding window."""

LEAST_PARAMETERS = 3_000_000
"""Models of fewer parameters keep their layers and widths."""

VOCAB = 96
"""Ids of a reduced vocabulary, at most."""

WIDTH = 64
"""Hidden units of a reduced feed-forward block, at most."""


def reduced_config(config: PretrainedConfig, parameters: int) -> PretrainedConfig:
    """A configuration of the same kind whose model is built in a second; `parameters` are those of the model."""
    small = copy.deepcopy(config)
    small.vocab_size = min(config.vocab_size, VOCAB)
    for name in ("sliding_window", "window_size", "attention_chunk_size"):
        value = getattr(small, name, None)
        if isinstance(value, int) and value > 0:
            setattr(small, name, min(value, WINDOW))
    if parameters >= LEAST_PARAMETERS:
        _keep_few_layers(small)
        _keep_few_heads(small)
        for name, value in list(vars(small).items()):
            if isinstance(value, int) and _is_width(name) and value > WIDTH:
                setattr(small, name, WIDTH)
    return small


def _is_width(name: str) -> bool:
    return "intermediate_size" in name or name in ("ffn_dim", "n_inner", "ffn_hidden_size")


def _keep_few_layers(config: PretrainedConfig) -> None:
    """Keep the first two layers, the first of each type, and with dense layers before routed ones one of each."""
    count = config.num_hidden_layers
    per_layer = {name: value for name, value in vars(config).items() if _is_per_layer(value, count)}
    dense = getattr(config, "first_k_dense_replace", 0)
    if dense:
        config.first_k_dense_replace = 1
    kinds: list[Any] = [tuple(value[i] for value in per_layer.values()) for i in range(count)]
    kept = [i for i in range(count) if i < 2 or kinds[i] not in kinds[:i]][:8]
    for name, value in per_layer.items():
        setattr(config, name, [value[i] for i in kept])
    config.num_hidden_layers = len(kept)


def _is_per_layer(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(v, str | int) for v in value)


def _keep_few_heads(config: PretrainedConfig) -> None:
    """Keep at most two groups of two heads, each as wide as it was."""
    for name in ("linear_num_value_heads", "linear_num_key_heads"):
        if hasattr(config, name):
            setattr(config, name, max(1, getattr(config, name) * 2 // config.linear_num_key_heads))
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    for name in ("num_key_value_heads", "num_kv_heads"):
        groups = getattr(config, name, None)
        if isinstance(groups, int):
            config.num_attention_heads = min(groups, 2) * min(heads // groups, 2)
            setattr(config, name, min(groups, 2))
            break
    else:
        config.num_attention_heads = min(heads, 2)
    config.hidden_size = width * config.num_attention_heads
