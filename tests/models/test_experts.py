"""Mixtures of experts: what is counted, and the loss that balances them, against that of transformers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from pdstudy.config.placement import Placement
from pdstudy.config.run import LM
from pdstudy.core.errors import ConfigError
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks
from pdstudy.models.experts import balance_loss
from pdstudy.models.flops import count
from pdstudy.models.parallelize import lay_out
from tests.models.families import FAMILIES, student_of


def test_the_balance_of_a_sequence_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    layers = tuple(torch.randn(3 * 11, 6, requires_grad=True) for _ in range(4))
    ours = balance_loss(layers, 3, 2)
    theirs = [
        load_balancing_loss_func(tuple(layer.view(3, 11, 6)[i] for layer in layers), num_experts=6, top_k=2)
        for i in range(3)
    ]
    assert isinstance(theirs[0], torch.Tensor)
    torch.testing.assert_close(ours, torch.stack(theirs), rtol=1e-6, atol=0)
    mine = torch.autograd.grad(ours.sum(), layers)
    for one, other in zip(mine, torch.autograd.grad(sum(theirs), layers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)
    assert balance_loss((torch.zeros(8, 4),), 1, 2).item() == pytest.approx(2)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe", "gpt_oss"])
def test_the_objective_holds_the_balance_with_its_declared_weight(family: str) -> None:
    """Of one sequence it is what transformers adds where it is asked for router logits."""
    student = student_of(family)
    student = dataclasses.replace(student, settings=(*student.settings, ("router_aux_loss_coef", 0.5)))
    model = build_model(student, seed=0, attention="eager")
    ids = torch.arange(12)[None]
    batch = MicroBatch(ids, ids.roll(-1, 1).flatten(), sequences=np.arange(1))
    loss, parts = model.distillation_loss(batch, objective=LM(), alpha=0.0, divisor=12.0, vocab=96)
    theirs = model(input_ids=ids, output_router_logits=True)
    assert loss.item() - parts["lm"].item() / 12 == pytest.approx(0.5 * theirs.aux_loss.item(), rel=1e-5)


def test_micro_batches_do_not_change_the_balance() -> None:
    model = build_model(student_of("mixtral"), seed=0)
    ids = torch.arange(48).view(4, 12)

    def loss(rows: slice) -> torch.Tensor:
        some = ids[rows]
        batch = MicroBatch(some, some.roll(-1, 1).flatten(), sequences=np.arange(len(some)))
        return model.distillation_loss(batch, objective=LM(), alpha=0.0, divisor=48.0, vocab=96)[0]

    torch.testing.assert_close(loss(slice(0, 4)), loss(slice(0, 1)) + loss(slice(1, 4)), rtol=1e-6, atol=0)


ALONE = Ranks(torch.device("cpu"))


def test_routers_are_not_compiled() -> None:
    with pytest.raises(ConfigError, match=r"placement\.compile: found True; allowed for a mixture of experts: False"):
        lay_out(
            build_model(student_of("olmoe"), seed=0), Placement(compile=True), Ranks(torch.device("cpu")), "float32"
        )


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "deepseek_v3", "gpt_oss"])
def test_active_parameters_and_flops_are_those_of_the_chosen_experts(family: str) -> None:
    """As many parameters and FLOPs as a model that has no other experts than a token goes through."""
    student, settings = student_of(family), dict(FAMILIES[family])
    number = next(name for name in ("num_local_experts", "num_experts", "n_routed_experts") if name in settings)
    chosen = settings.get("num_experts_per_tok", 2)
    alone = dataclasses.replace(
        student,
        settings=tuple({**settings, number: chosen, "n_group": 1, "topk_group": 1}.items()),
        published=("n_group", "topk_group"),
    )
    whole, few = count(student, 16), count(alone, 16)
    router = 1 if family == "deepseek_v3" else 2  # routed layers
    bias = family == "gpt_oss"
    rows = (settings[number] - chosen) * (64 + bias) * router
    assert whole["active"] == sum(few[name] for name in ("embedding", "non_embedding", "head")) + rows
    assert whole["forward_flops"] == few["forward_flops"] + 2 * (settings[number] - chosen) * 64 * router
