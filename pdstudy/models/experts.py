"""Mixtures of experts: their active parameters, and the loss that balances their routers.

The loss is that of the Switch Transformer (arXiv 2101.03961, equations 4 to 6) as transformers computes it over all
layers together, but of each sequence by itself, as in DeepSeek-V2 (arXiv 2405.04434, section 2.1.2): a mean over
sequences does not depend on micro-batches and ranks, as one over whatever a forward reads would.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from pdstudy.models.student_config import RefusedStudent, causal_lm_class

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Names that configurations have for the number of experts."""


def has_routers(config: PretrainedConfig) -> bool:
    """Whether a configuration's model has routers whose logits transformers gives."""
    return "router_logits" in (causal_lm_class(config)._can_record_outputs or {})


def balance_weight(config: PretrainedConfig) -> float:
    """The weight of the balance loss: the setting `router_aux_loss_coef`, or 0 where nothing is routed.

    Raises `RefusedStudent` where the family has none in transformers, unless it is declared to be 0.
    """
    if not has_routers(config) and not any((getattr(config, name, None) or 0) > 1 for name in EXPERTS):
        return 0.0
    own = has_routers(config) and "router_aux_loss_coef" in type(config)().to_dict()
    weight = getattr(config, "router_aux_loss_coef", None)
    if weight is None or (weight and not own):
        raise RefusedStudent(
            "student.settings",
            config.model_type,
            "('router_aux_loss_coef', 0.0), to train without a balance, or a family with this setting (mixtral, olmoe)",
            "it balances its experts by a rule that transformers does not have",
        )
    return float(weight)


def experts_per_token(config: PretrainedConfig) -> int:
    """The number of experts that read a token."""
    names = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "top_k_experts", "moe_topk", "top_k")
    found = next((getattr(config, name) for name in names if isinstance(getattr(config, name, None), int)), None)
    if found is None:
        allowed = "a family that says how many experts read a token"
        raise RefusedStudent("student.model_type", config.model_type, allowed)
    return int(found)


def active_parameters(model: PreTrainedModel) -> int | None:
    """Parameters that a token goes through; None where that is all of them."""
    idle = 0
    for module in model.modules():
        count = getattr(module, "num_experts", None)
        if "Experts" not in type(module).__name__ or not isinstance(count, int):
            continue
        own = sum(p.numel() for p in module.parameters() if p.ndim > 1 and p.shape[0] == count)
        idle += own - own * experts_per_token(model.config) // count
    return sum(p.numel() for p in model.parameters()) - idle if idle else None


def balance_loss(router_logits: tuple[Tensor, ...], sequences: int, experts_each: int) -> Tensor:
    """The balance loss of each sequence, [sequences]: its least value is `experts_each`, of an even routing.

    `router_logits` are those of each routed layer, [sequences * T, E].
    """
    logits = torch.stack([layer.float().view(sequences, -1, layer.shape[-1]) for layer in router_logits])
    probs = torch.softmax(logits, -1)
    chosen = torch.zeros_like(probs).scatter_(-1, probs.topk(experts_each, -1).indices, 1.0)
    share, mean = chosen.mean((0, 2)), probs.mean((0, 2))
    return probs.shape[-1] * torch.linalg.vecdot(share, mean)
