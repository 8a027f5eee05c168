"""The transformers configuration of a declared student, and what is refused in it."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    GraniteConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from pdstudy.config.model import Shape, Student, TransformersConfig, as_mapping
from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem, nearest

RANDOM = ("dropout", "pdrop", "layerdrop", "jitter")
"""Parts of the names of settings that make a forward pass random."""


class RefusedStudent(ConfigError):
    """A declaration that is refused, as the `problem` that it is."""

    def __init__(self, field: str, found: Any, allowed: str, hint: str = "") -> None:
        self.problem = Problem(field, found, allowed, hint=hint)
        super().__init__(str(self.problem))


def transformers_config(student: Student) -> PretrainedConfig:
    """The transformers configuration of a declared student. Raises `ConfigError` on settings it does not know."""
    if isinstance(student, Shape):
        family, multipliers = LlamaConfig, {}
        if student.parametrisation is not None:
            family, multipliers = GraniteConfig, student.multipliers
        config = family(
            vocab_size=student.vocab,
            hidden_size=student.width,
            intermediate_size=student.ffn,
            num_hidden_layers=student.layers,
            num_attention_heads=student.heads,
            num_key_value_heads=student.query_groups,
            head_dim=student.dim_per_head,
            rms_norm_eps=student.norm_eps,
            initializer_range=student.init_std,
            tie_word_embeddings=student.tied,
            rope_parameters={"rope_type": "default", "rope_theta": student.rope_theta},
            **multipliers,
        )
        # transformers 5 reads rope_parameters; readers of the older format take 10,000 unless this is there too.
        config.rope_theta = student.rope_theta
        return config
    config = _from_settings(student)
    _refuse_random(config)
    return config


def multipliers(config: PretrainedConfig) -> dict[str, Any]:
    """The multipliers of a model by their names in the configurations of families that have them."""
    plain = {"logits_scaling": 1.0, "residual_multiplier": 1.0, "embedding_multiplier": 1.0}
    scores = getattr(config, "attention_multiplier", None)
    if scores is None and getattr(config, "head_dim", None):
        scores = config.head_dim**-0.5
    return {name: getattr(config, name, value) for name, value in plain.items()} | {"attention_multiplier": scores}


def configuration_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class of a decoder of transformers. Raises `ConfigError` where that has none of this type."""
    # Its `get` knows no class that has not been loaded.
    kind: type[PretrainedConfig] | None = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None  # noqa: SIM401
    if kind is None or kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RefusedStudent("model_type", model_type, "the type of a decoder that transformers has")
    return kind


def _from_settings(student: TransformersConfig) -> PretrainedConfig:
    # Of a token that is declared to be padding, transformers never trains the embedding; here none is padding.
    settings: dict[str, Any] = {
        name: _as_typed(student.model_type, name, as_mapping(value)) for name, value in student.settings
    }
    settings |= {"vocab_size": student.vocab, "pad_token_id": None}
    try:
        config = AutoConfig.for_model(student.model_type, **settings)
    except (ValueError, TypeError, KeyError, AttributeError, StrictDataclassError) as error:
        if "Unrecognized model identifier" in str(error):
            raise RefusedStudent("student.model_type", student.model_type, "a transformers type") from error
        words = " ".join(str(error).split())
        raise RefusedStudent("student.settings", student.model_type, "settings that it takes", words) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RefusedStudent(
            "student.model_type",
            student.model_type,
            "the type of a decoder, of a model with images that of its text part",
            "transformers has no causal language model of this type",
        )
    known_names = _known_settings(config)
    for name in sorted({name for name, _ in student.settings} - known_names - set(student.published)):
        if not _is_read(config, name):
            allowed = f"settings of {type(config).__name__}"
            raise RefusedStudent("student.settings", name, allowed, nearest(name, known_names))
    return config


def _as_typed(model_type: str, name: str, value: Any) -> Any:
    """A whole number as a float where the configuration takes nothing else: 30.0 is stored, and hashed, as 30."""
    if type(value) is not int or model_type not in CONFIG_MAPPING:
        return value
    kind = CONFIG_MAPPING[model_type]
    field = kind.__dataclass_fields__.get(kind.attribute_map.get(name, name))
    types = "" if field is None else str(field.type)
    return float(value) if "float" in types and "int" not in types else value


def _known_settings(config: PretrainedConfig) -> set[str]:
    """Names that a configuration class reads: its fields, their other names, and those of the older rope format."""
    kind = type(config)
    names = set(kind().to_dict()) | set(kind.attribute_map) | set(kind.__dataclass_fields__)
    if "rope_parameters" in names:
        names |= {"rope_theta", "rope_scaling"}
    return names | {"router_aux_loss_coef"}


def _is_read(config: PretrainedConfig, name: str) -> bool:
    """Whether a model's code reads a setting that its configuration class does not have (Qwen3-MoE's `head_dim`)."""
    code = inspect.getsource(sys.modules[causal_lm_class(config).__module__])
    return re.search(rf"config(\.|, \"){re.escape(name)}\b", code) is not None


def causal_lm_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class of a configuration's causal language model."""
    found = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def reduced(config: PretrainedConfig, changed: dict[str, Any]) -> PretrainedConfig:
    """A copy of a configuration with some of the fields that it has changed."""
    made = copy.deepcopy(config)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def _refuse_random(config: PretrainedConfig) -> None:
    """Raise on dropout: with nothing random in a step, resuming is exact without generator state.

    What acts in training is refused, not the dropout of a classifier that the language model does not have.
    """
    found = {
        name: value
        for name, value in config.to_dict().items()
        if any(part in name for part in RANDOM) and isinstance(value, float) and value > 0
    }
    acting = [name for name in found if _is_random(config, dict.fromkeys(found, 0.0) | {name: found[name]})]
    if acting:
        shown = ", ".join(f"{name}={found[name]:g}" for name in acting)
        ways = ", ".join(f"({name!r}, 0.0)" for name in acting)
        raise RefusedStudent("student.settings", shown, "0, so that a step is exact", f"add {ways}")


def _is_random(config: PretrainedConfig, settings: dict[str, float]) -> bool:
    """Whether any part of the model of a configuration, with some settings changed, has a chance of dropping."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(reduced(config, settings), attn_implementation="eager")
    return any(chance > 0 for module in model.modules() for chance in _chances(module))


def _chances(module: nn.Module) -> Iterator[float]:
    if isinstance(module, nn.Dropout):
        yield module.p
    for name, value in vars(module).items():
        if isinstance(value, float) and any(part in name for part in RANDOM):
            yield value
