"""Laying a model out over ranks: activation checkpointing, compilation, sharding (FSDP2, HSDP).

Nothing here changes a result beyond rounding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from transformers import PreTrainedModel

from pdstudy.config.placement import Placement
from pdstudy.core.errors import ConfigError
from pdstudy.models.distributed import Ranks
from pdstudy.models.experts import has_routers


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder's layers, which transformers says must not be split; of layers in layers (Mamba) the outer ones."""
    names = set(model._no_split_modules or ())
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if type(module).__name__ in names and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return list(found.values())


def lay_out(model: PreTrainedModel, placement: Placement, ranks: Ranks, precision: str) -> None:
    """Activation checkpointing, then compilation, then sharding, in place: each wraps what came before.

    Raises `ConfigError` where the model cannot be compiled.
    """
    if placement.activation_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if placement.compile:
        if has_routers(model.config):
            # Their logits are collected by hooks that a compiled block does not run.
            raise ConfigError("placement.compile: found True; allowed for a mixture of experts: False")
        for block in blocks(model):
            block.compile(fullgraph=True)
    if ranks.mesh is not None:
        _shard(model, ranks, torch.bfloat16 if precision == "bfloat16" else None)


def _holds_all(mesh: DeviceMesh) -> bool:
    """Whether every rank holds the whole model: one rank, or as many replicas as ranks."""
    return mesh.size(mesh.ndim - 1) == 1


def _shard(model: PreTrainedModel, ranks: Ranks, dtype: torch.dtype | None) -> None:
    assert ranks.mesh is not None
    # Inputs are not cast: the teacher's log-probabilities come in with them and stay float32.
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    if dtype is None:
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    reshard = not _holds_all(ranks.mesh)
    for block in blocks(model):
        fully_shard(block, mesh=ranks.mesh, mp_policy=policy, reshard_after_forward=reshard)
    # Embedding, last norm and head are one unit: a tied weight may be in one only, and the loss needs the head.
    sharded = fully_shard(model, mesh=ranks.mesh, mp_policy=policy, reshard_after_forward=reshard)
    for method in ("distillation_loss", "with_head"):
        register_fsdp_forward_method(model, method)
    for module in sharded.modules():
        if isinstance(module, FSDPModule):
            # The loss is divided by the tokens of the whole step already, so gradients are summed over ranks. On
            # gloo both are needed: a factor alone asks for a reduction it lacks, a sum alone still averages.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def shard_frozen(model: PreTrainedModel, ranks: Ranks, *, head: bool) -> None:
    """Put a model that only runs forward on its device: whole, or its share of it where there are several ranks.

    It is moved block by block, so that a device never holds more than its share, one block, and the embedding. Without
    `head` the output head is whole on every rank.
    """
    if ranks.mesh is None or ranks.size == 1:
        model.to(ranks.device)
        return
    whole = model if head else _trunk(model)
    for part in (*blocks(model), whole):
        fully_shard(part, mesh=ranks.mesh, reshard_after_forward=True)
    sharded = set(whole.modules())
    for module in model.modules():
        if module not in sharded:
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = tensor.data.to(ranks.device)


def _trunk(model: PreTrainedModel) -> nn.Module:
    """The base model, or the one part that it is made of: OPT's own forward calls the decoder inside."""
    trunk: nn.Module = model.base_model
    while len(parts := list(trunk.children())) == 1:
        trunk = parts[0]
    return trunk


def announce_backward(model: nn.Module, ranks: Ranks, *, last: bool) -> None:
    """Tell a sharded model whether the step's last backward is next: replicas exchange gradients only then.

    Where every rank holds the whole model, its gradients and gathered weights stay until then, too: that takes no
    memory that is not taken anyway.
    """
    if ranks.mesh is None:
        return
    assert isinstance(model, FSDPModule)
    model.set_is_last_backward(last)
    if _holds_all(ranks.mesh):
        model.set_requires_gradient_sync(last)
        model.set_reshard_after_backward(last)
    else:
        model.set_requires_all_reduce(last)
