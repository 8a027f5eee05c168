"""Parameters and FLOPs of a student, counted on torch's meta device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from pdstudy.config.model import Shape, Student
from pdstudy.models.build_model import from_config, parameter_counts
from pdstudy.models.experts import active_parameters, has_routers
from pdstudy.models.student_config import transformers_config


def forward_flops(student: Student, context: int) -> float:
    """Forward FLOPs per token, the head included."""
    if isinstance(student, Shape):
        return student.forward_flops(context)
    return float(count(student, context)["forward_flops"])


def count(student: Student, context: int) -> dict[str, float]:
    """Parameters by group and `forward_flops` per token at `context` tokens, from the model on the meta device.

    Attention is counted in full (no discount for causality), as `Shape.forward_flops` does. Of a mixture of experts,
    `active` are the parameters that a token goes through, and FLOPs are those of its experts.
    """
    config = transformers_config(student)
    # One product per chosen expert of a token: the others depend on where tokens go, which meta tensors do not say.
    experts = {"experts_implementation": "batched_mm"} if has_routers(config) else {}
    with torch.device("meta"):
        model = from_config(config, "eager", **experts)
    counts = parameter_counts(model)
    active = active_parameters(model)
    return {
        **counts,
        **({} if active is None else {"active": active}),
        "forward_flops": _forward_flops(model, context) / context,
    }


def _forward_flops(model: PreTrainedModel, context: int) -> int:
    """FLOPs of a forward over one sequence, by a model on the meta device."""
    with torch.device("meta"):
        inputs = torch.zeros(1, context, dtype=torch.long)
        # With a mask transformers does not read values that meta tensors do not have: for attention one of tokens,
        # for linear attention a ready one with positions.
        ready = {"attention_mask": torch.zeros(1, 1, context, context), "position_ids": torch.arange(context)[None]}
        try:
            return _count({"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}, model)
        except RuntimeError:
            return _count({"input_ids": inputs, **ready}, model)


def _count(inputs: dict[str, Tensor], model: PreTrainedModel) -> int:
    with FlopCounterMode(display=False) as counter:
        model(**inputs, use_cache=False)
    return int(counter.get_total_flops())
