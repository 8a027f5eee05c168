"""Building a declared student as a transformers decoder that has its loss as a method.

The loss is a method (`model.distillation_loss`) and not a wrapper, so that parallelism can register it as a forward
(parameters gathered, state-dict keys the model's own), and so that the head is never called: logits of
tokens x vocabulary would be as large as all else together.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel

from pdstudy.config.model import Shape, Student, TransformersConfig
from pdstudy.config.run import KD, LM
from pdstudy.core.errors import ConfigError
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.teacher.weights import load_causal_lm
from pdstudy.models.attention import CAUSAL_SDPA, Attention

Observer = Callable[[MicroBatch, Tensor, Tensor], None]
"""Called with a micro-batch, its last hidden states [B, T, H], detached, and the head's weight [V, H]."""


def transformers_config(student: Student) -> PretrainedConfig:
    """The transformers configuration of a declared student. Raises `ConfigError` on settings it does not know."""
    if isinstance(student, Shape):
        config = LlamaConfig(
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
        )
        # transformers 5 reads rope_parameters; readers of the older format take 10,000 unless this is there too.
        config.rope_theta = student.rope_theta
        return config
    settings = dict(student.settings)
    try:
        config = AutoConfig.for_model(student.model_type, vocab_size=student.vocab, **settings)
    except ValueError as error:
        raise ConfigError(f"student.model_type: found {student.model_type!r}; allowed: a transformers type") from error
    unknown = sorted(set(settings) - set(type(config)().to_dict()))
    if unknown:
        raise ConfigError(f"student.settings: {type(config).__name__} has no {', '.join(unknown)}")
    _refuse_dropout(config)
    return config


def _refuse_dropout(config: PretrainedConfig) -> None:
    """Raise on dropout: with nothing random in a step, resuming is exact without generator state."""
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("_pdrop")) and isinstance(value, float) and value > 0:
            raise ConfigError(f"student.settings: found {name}={value}; allowed: 0 (add ({name!r}, 0.0) to settings)")


def build_model(
    student: Student, *, seed: int, dtype: torch.dtype = torch.float32, attention: Attention = "sdpa"
) -> PreTrainedModel:
    """The student with its initial weights, on the CPU: a function of `student`, `seed` and `dtype` alone.

    The global random state is neither read nor changed. Raises `ConfigError` where the model's logits are not its
    last hidden states times its head (soft-capping, logit scales, a head bias): its loss here would be another one.
    """
    config = transformers_config(student)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A Shape's layers all see everything before them; other models may have windows, which need built masks.
        plain = attention == "sdpa" and isinstance(student, Shape)
        model: PreTrainedModel = _from_config(config, CAUSAL_SDPA if plain else attention).to(dtype)
    if isinstance(student, TransformersConfig):
        _refuse_other_logits(model, student.model_type)
    return _with_loss(model)


@torch.no_grad()
def start_from(model: PreTrainedModel, folder: Path, vocab: int) -> None:
    """Copy the weights of a transformers folder into `model`. Exports lack padding rows: the model keeps its own.

    `vocab` is the tokenizer's size. Raises `ConfigError` where the folder's model is of another make.
    """
    try:
        source = load_causal_lm(folder, dtype=torch.float32)
    except ConfigError as error:
        raise ConfigError(f"start.model: {error}") from error
    # Settings that no weight's shape shows.
    for name in ("num_attention_heads", "num_key_value_heads", "rope_parameters", "rms_norm_eps", "hidden_act"):
        theirs, ours = getattr(source.config, name, None), getattr(model.config, name, None)
        if theirs != ours:
            raise ConfigError(f"start.model: {folder} has {name}={theirs}; allowed: the student's {ours}")
    ours, theirs = dict(model.named_parameters()), dict(source.named_parameters())
    if ours.keys() != theirs.keys():
        names = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3])
        raise ConfigError(f"start.model: {folder} and the student do not both have {names}; allowed: the same weights")
    tables = (model.get_input_embeddings().weight, head_weight(model))
    for name, value in ours.items():
        given = theirs[name]
        rows = len(given) if any(value is table for table in tables) else len(value)
        if given.shape != value[:rows].shape or (rows != len(value) and rows < vocab):
            raise ConfigError(
                f"start.model: {folder} has {name} of shape {tuple(given.shape)}; allowed: the student's "
                f"{tuple(value.shape)}, of the vocabulary at least the tokenizer's {vocab} rows"
            )
        if not given.isfinite().all():
            raise ConfigError(f"start.model: {folder} has {name} with values that are not numbers; take another model")
        value[:rows] = given


def load_exported(folder: Path) -> PreTrainedModel:
    """A model that the trainer exported, with its loss, on the CPU in float32."""
    return _with_loss(load_causal_lm(folder, dtype=torch.float32, attn_implementation="sdpa"))


def _with_loss(model: PreTrainedModel) -> PreTrainedModel:
    model.distillation_loss = types.MethodType(distillation_loss, model)
    model.with_head = types.MethodType(with_head, model)
    return model.train()


def _from_config(config: PretrainedConfig, attention: str) -> PreTrainedModel:
    # from_config writes the attention choice into the object that it is given.
    return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attention)


@torch.no_grad()
def _refuse_other_logits(model: PreTrainedModel, model_type: str) -> None:
    probe = torch.arange(8).remainder(model.config.vocab_size)[None]
    hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
    plain = hidden @ head_weight(model).T
    if not torch.allclose(plain, model(input_ids=probe, use_cache=False).logits, rtol=1e-4, atol=1e-5):
        raise ConfigError(
            f"student.model_type: found {model_type!r}, whose logits are not hidden states times head weight; "
            f"allowed: decoders without logit scales, soft-capping or a head bias (neutral settings do)"
        )


def head_weight(model: nn.Module) -> Tensor:
    """The output head [V, H]; the embedding itself where tied."""
    weight: Tensor = model.get_output_embeddings().weight  # type: ignore[operator]
    return weight


def distillation_loss(
    model: PreTrainedModel,
    batch: MicroBatch,
    *,
    objective: LM | KD,
    alpha: float,
    divisor: float,
    vocab: int,
    z_loss: float = 0.0,
    observe: Observer | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one micro-batch: its sum over valid tokens of (1 - alpha) L_lm + alpha L_kd + `z_loss` L_z, over
    `divisor`.

    `divisor` is the number of valid tokens of the whole step, so that micro-batches and ranks add up to one mean.
    `vocab` is the tokenizer's size; rows of the head above it are padding. Returns the differentiable scalar and
    detached sums by part ("lm", and "kd" with a signal), in nats. `observe` sees what the loss is made of.
    """
    hidden = _states(model, batch)
    if observe is not None:
        observe(batch, hidden.detach(), head_weight(model))
    return fused_loss(
        hidden.flatten(0, 1),
        head_weight(model),
        batch.targets,
        batch.signal,
        objective,
        alpha,
        divisor,
        vocab,
        z_loss=z_loss,
    )


def _states(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """Last hidden states [B, T, H]."""
    states: Tensor = model.base_model(
        input_ids=batch.inputs, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    return states


def with_head(model: PreTrainedModel, batch: MicroBatch, use: Callable[[Tensor, Tensor], None]) -> None:
    """Call `use` with a micro-batch's last hidden states [N, H] and the head's weight [V, H], whole where sharded."""
    hidden = _states(model, batch)
    use(hidden.flatten(0, 1), head_weight(model))


def parameter_counts(model: PreTrainedModel) -> dict[str, int]:
    """Numbers of parameters by group; the head counts 0 where it shares the embedding."""
    total = sum(p.numel() for p in model.parameters())
    embedding = model.get_input_embeddings().weight
    head = 0 if head_weight(model) is embedding else head_weight(model).numel()
    return {"embedding": embedding.numel(), "non_embedding": total - embedding.numel() - head, "head": head}


def forward_flops(student: Student, context: int) -> float:
    """Forward FLOPs per token, the head included."""
    if isinstance(student, Shape):
        return student.forward_flops(context)
    return float(count(student, context)["forward_flops"])


def count(student: Student, context: int) -> dict[str, Any]:
    """Parameters by group and `forward_flops` per token at `context` tokens, from the model on the meta device.

    Attention is counted in full (no discount for causality), as `Shape.forward_flops` does.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = _from_config(transformers_config(student), "eager")
        inputs = torch.zeros(1, context, dtype=torch.long)
        # A ready 4-D mask keeps transformers from reading values that meta tensors do not have.
        mask = torch.zeros(1, 1, context, context)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=inputs, attention_mask=mask, use_cache=False)
    return {**parameter_counts(model), "forward_flops": counter.get_total_flops() / context}
