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

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from pdstudy.config.model import Shape, Student, width_multiplier
from pdstudy.config.run import KD, LM
from pdstudy.core.errors import ConfigError
from pdstudy.corpus.batch import IGNORED
from pdstudy.distill.head import head_states, head_weight, hidden_matrices, soft_cap, vocabulary_tensors
from pdstudy.distill.loss.fused import fused_loss
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.teacher.weights import load_causal_lm
from pdstudy.models.attention import CAUSAL_SDPA, Attention, respecting
from pdstudy.models.experts import balance_loss, balance_weight, experts_per_token
from pdstudy.models.student_config import multipliers, transformers_config

Observer = Callable[[MicroBatch, Tensor, Tensor, float | None], None]
"""Called with a micro-batch, its last hidden states [B, T, H], detached, the head's weight [V, H], and the soft cap of
the logits."""


def build_model(
    student: Student, *, seed: int, dtype: torch.dtype = torch.float32, attention: Attention = "sdpa"
) -> PreTrainedModel:
    """The student with its initial weights, on the CPU: a function of `student`, `seed` and `dtype` alone.

    The global random state is neither read nor changed.
    """
    config = transformers_config(student)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A Shape's layers all see everything before them; other models may have windows, which need built masks.
        plain = attention == "sdpa" and isinstance(student, Shape)
        model = from_config(config, CAUSAL_SDPA if plain else attention).to(dtype)
    scale = width_multiplier(student) ** -0.5
    with torch.no_grad():
        for matrix in hidden_matrices(model) if scale != 1 else ():
            matrix.mul_(scale)
    return with_loss(model, ready_masks=plain)


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
    shared = ("num_attention_heads", "num_key_value_heads", "rope_parameters", "rms_norm_eps", "hidden_act")
    said, own = ({key: getattr(c, key, None) for key in shared} | multipliers(c) for c in (source.config, model.config))
    for key, found in said.items():
        if found != own[key]:
            raise ConfigError(f"start.model: {folder} has {key}={found}; allowed: the student's {own[key]}")
    ours, theirs = dict(model.named_parameters()), dict(source.named_parameters())
    if ours.keys() != theirs.keys():
        names = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3])
        raise ConfigError(f"start.model: {folder} and the student do not both have {names}; allowed: the same weights")
    tables = vocabulary_tensors(model)
    for name, value in ours.items():
        given = theirs[name]
        rows = len(given) if name in tables else len(value)
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
    return with_loss(load_causal_lm(folder, dtype=torch.float32))


def with_loss(model: PreTrainedModel, *, ready_masks: bool = False) -> PreTrainedModel:
    """The model in training mode, with `distillation_loss` and `with_head` as methods.

    With `ready_masks` a batch's mask serves all layers; else transformers makes one for each type of layer.
    """
    model.ready_masks = ready_masks
    model.distillation_loss = types.MethodType(distillation_loss, model)
    model.with_head = types.MethodType(with_head, model)
    return model.train()


def from_config(config: PretrainedConfig, attention: str, **options: str) -> PreTrainedModel:
    """The causal language model of a configuration, which stays as it is."""
    # transformers writes the attention choice into the object that it is given.
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        copy.deepcopy(config), attn_implementation=attention, **options
    )
    return model


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
    weight = balance_weight(model.config)
    hidden, router_logits = _states(model, batch, routed=weight > 0)
    cap = soft_cap(model.config)
    if observe is not None:
        observe(batch, hidden.detach(), head_weight(model), cap)
    loss, parts = fused_loss(
        hidden.flatten(0, 1),
        head_weight(model),
        batch.targets,
        batch.signal,
        objective,
        alpha,
        divisor,
        vocab,
        z_loss=z_loss,
        cap=cap,
    )
    if router_logits:
        sequences = len(batch.inputs) if batch.sequences is None else len(batch.sequences)
        balance = balance_loss(router_logits, sequences, experts_per_token(model.config))
        valid = (batch.targets.view(sequences, -1) != IGNORED).sum(1)
        loss = loss + weight * (balance * valid).sum() / divisor
    return loss, parts


def _states(model: PreTrainedModel, batch: MicroBatch, *, routed: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Last hidden states [B, T, H], as the head's weight multiplies them, and the logits of the routers if `routed`."""
    ready = batch.mask if model.ready_masks else None
    options = {"output_router_logits": True} if routed else {}
    with respecting(batch.positions if ready is None and batch.mask is not None else None):
        out = trunk(model)(
            input_ids=batch.inputs, attention_mask=ready, position_ids=batch.positions, use_cache=False, **options
        )
    return head_states(model, out.last_hidden_state), out.router_logits if routed else ()


def trunk(model: PreTrainedModel) -> nn.Module:
    """The model below the head."""
    base: nn.Module = model.base_model
    return model.get_submodule("model") if base is model else base  # Llama-4's text model says that it is its own base


def with_head(model: PreTrainedModel, batch: MicroBatch, use: Callable[[Tensor, Tensor, float | None], None]) -> None:
    """Call `use` with a micro-batch's last hidden states [N, H], the head's weight [V, H], whole where sharded, and the
    soft cap of the logits."""
    hidden, _ = _states(model, batch)
    use(hidden.flatten(0, 1), head_weight(model), soft_cap(model.config))


def parameter_counts(model: PreTrainedModel) -> dict[str, int]:
    """Numbers of parameters by group; the head, with its bias, counts 0 where it shares the embedding."""
    total = sum(p.numel() for p in model.parameters())
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    head = sum(p.numel() for p in output.parameters() if p is not embedding)
    return {"embedding": embedding.numel(), "non_embedding": total - embedding.numel() - head, "head": head}
