"""The output head of a model as a function of its last hidden states: weight, bias, scale and soft cap.

logits = cap * tanh(scale * (W h + b) / cap), each part where a family has it. A scale and a bias become part of the
states and of the weight, so that all that computes logits by one product has them; a cap is handed on beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

BIAS_COLUMNS = 8
"""Columns that a bias adds to the head's weight, all but one of them 0: products are slow at odd widths."""


def logit_scale(config: PretrainedConfig) -> float:
    """The factor of the logits: Cohere's `logit_scale`, Falcon-H1's `lm_head_multiplier`, 1 / Granite's
    `logits_scaling`."""
    config = config.get_text_config()
    scale = getattr(config, "logit_scale", None) or getattr(config, "lm_head_multiplier", None) or 1.0
    return float(scale) / float(getattr(config, "logits_scaling", None) or 1.0)


def soft_cap(config: PretrainedConfig) -> float | None:
    """The bound of the logits (Gemma's `final_logit_softcapping`); None where there is none."""
    cap = getattr(config.get_text_config(), "final_logit_softcapping", None)
    return float(cap) if cap else None


def _bias(model: nn.Module) -> Tensor | None:
    bias: Tensor | None = getattr(model.get_output_embeddings(), "bias", None)  # type: ignore[operator]
    return bias


def head_weight(model: nn.Module) -> Tensor:
    """The output head [V, H]; the embedding itself where tied. A bias is a column of its own, H + 1 of H + 8."""
    weight: Tensor = model.get_output_embeddings().weight  # type: ignore[operator]
    bias = _bias(model)
    if bias is None:
        return weight
    return torch.cat([weight, bias[:, None], weight.new_zeros(len(weight), BIAS_COLUMNS - 1)], 1)


def head_states(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Last hidden states [..., H] as `head_weight` multiplies them: times the scale, with a column for a bias."""
    if _bias(model) is not None:
        one = states.new_zeros(*states.shape[:-1], BIAS_COLUMNS)
        one[..., 0] = 1
        states = torch.cat([states, one], -1)
    scale = logit_scale(model.config)
    return states if scale == 1 else states * scale


def hidden_matrices(model: PreTrainedModel) -> list[nn.Parameter]:
    """Parameters of two or more dimensions, those of `vocabulary_tensors` left out."""
    tables = vocabulary_tensors(model)
    return [value for name, value in model.named_parameters() if value.ndim >= 2 and name not in tables]


def vocabulary_tensors(model: PreTrainedModel) -> set[str]:
    """Names of the parameters with a row per id: embedding, head and its bias."""
    rows = [model.get_input_embeddings().weight, model.get_output_embeddings().weight, _bias(model)]
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, value in named if any(value is row for row in rows)}
