"""The maximal update parametrisation: what it multiplies, beside a plain Llama with the multipliers in its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from pdstudy.config.model import MuP, Shape, width_multiplier
from pdstudy.config.model_folder import check_start
from pdstudy.config.optimizer import AdamW
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import canonical, fingerprint
from pdstudy.core.validation import problems
from pdstudy.models.build_model import build_model, start_from
from pdstudy.models.export import write_model
from pdstudy.models.self_test import self_test
from pdstudy.study.grid import axis
from pdstudy.study.validation import check_head_sizes
from pdstudy.train.weight_update import adamw, set_learning_rate
from tests.core.test_normal import make_run
from tests.models.coordinate_check import KINDS, changes, slope
from tests.models.coordinate_check import shape as checked
from tests.study.test_study import make_study

PLAIN = Shape(width=64, layers=2, heads=4, query_groups=2, ffn=96, vocab=80, init_std=0.1)
WIDE = dataclasses.replace(PLAIN, parametrisation=MuP(base_width=16, base_head_dim=8, base_layers=1))
UNTIED = dataclasses.replace(WIDE, tied=False)
GROWING = MuP(base_width=16)
BLOCK = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def is_hidden(name: str) -> bool:
    return any(part in name for part in BLOCK)


def ids() -> Tensor:
    return torch.randint(80, (2, 24), generator=torch.Generator().manual_seed(0))


def folded(model: PreTrainedModel, shape: Shape) -> PreTrainedModel:
    """A Llama of the same function: scores in the queries, branches in last matrices, logits in the norm."""
    plain = build_model(dataclasses.replace(shape, parametrisation=None), seed=0, dtype=torch.float64)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if "q_proj" in name:
            value *= (8**0.5 / 16) / 16**-0.5
        if "o_proj" in name or "down_proj" in name:
            value *= 1 / 2
        if name == "model.norm.weight":
            value /= 64 / 16
    plain.load_state_dict(weights)
    return plain


@pytest.mark.parametrize("shape", [WIDE, UNTIED], ids=("tied", "untied"))
def test_multipliers_are_those_of_a_llama_with_scaled_weights(shape: Shape) -> None:
    model = build_model(shape, seed=1, dtype=torch.float64)
    with torch.no_grad():
        found, expected = (m(input_ids=ids(), use_cache=False).logits for m in (model, folded(model, shape)))
    assert found.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_matrices_of_the_blocks_begin_smaller_and_all_else_as_it_is() -> None:
    plain, wide = (build_model(shape, seed=2).state_dict() for shape in (PLAIN, WIDE))
    assert plain.keys() == wide.keys()
    for name, value in wide.items():
        assert value.equal(plain[name] * 0.5 if is_hidden(name) else plain[name])


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_of_the_blocks_have_their_own_rate_and_decay(tied: bool) -> None:
    shape = dataclasses.replace(WIDE, tied=tied)
    model = build_model(shape, seed=0)
    optimiser = adamw(model, AdamW(lr=1.0, weight_decay=0.1), width_multiplier(shape))
    set_learning_rate(optimiser, 0.8)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    assert len(found) == sum(len(g["params"]) for g in optimiser.param_groups) == len(list(model.parameters()))
    for name, value in model.named_parameters():
        expected = (0.2, 0.4) if is_hidden(name) else (0.8, 0.1 if value.ndim == 2 else 0.0)
        assert found[id(value)] == expected


def test_at_the_base_it_is_the_standard_parametrisation() -> None:
    base = dataclasses.replace(PLAIN, parametrisation=MuP(base_width=64, base_head_dim=16, base_layers=2))
    losses = []
    for shape in (PLAIN, base):
        model = build_model(shape, seed=0)
        optimiser = adamw(model, AdamW(lr=0.01), width_multiplier(shape))
        for _ in range(3):
            logits = model(input_ids=ids(), use_cache=False).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1), ids()[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[:3] == losses[3:]


def test_the_self_test_finds_no_fault() -> None:
    assert self_test(WIDE, 32, WIDE.parameters().total).faults == {}


def test_a_shape_without_it_has_the_identity_that_it_had() -> None:
    assert "parametrisation" not in canonical(PLAIN)
    assert fingerprint(PLAIN) == fingerprint(dataclasses.replace(WIDE, parametrisation=None)) != fingerprint(WIDE)


@pytest.mark.parametrize("name", ["base_width", "base_head_dim", "base_layers"])
def test_a_base_of_nothing_is_refused(name: str) -> None:
    (problem,) = problems(dataclasses.replace(PLAIN, parametrisation=MuP(**{"base_width": 16, name: 0})))
    assert (problem.field, problem.found) == (f"parametrisation.{name}", 0)


def test_heads_that_grow_need_the_size_at_the_base() -> None:
    sizes = {str(w): dataclasses.replace(PLAIN, width=w, vocab=512, parametrisation=GROWING) for w in (32, 64)}
    (problem,) = make_study(grid=axis("width", sizes, field="student"), baseline={}).problems()
    assert problem.field == "student.parametrisation.base_head_dim"
    assert "[8, 16]" in problem.allowed
    two = list(sizes.values())
    assert not list(check_head_sizes([dataclasses.replace(s, head_dim=16) for s in two]))
    assert not list(check_head_sizes(dataclasses.replace(s, parametrisation=WIDE.parametrisation) for s in two))


@pytest.mark.parametrize("pair", [(PLAIN, WIDE), (WIDE, PLAIN)], ids=("standard to muP", "muP to standard"))
def test_weights_of_another_parametrisation_are_no_start(pair: tuple[Shape, Shape], tmp_path: Path) -> None:
    source, student = pair
    model = build_model(source, seed=0)
    write_model(model.config, model.state_dict(), tmp_path, vocab=80, bos=None, eos=0, context=32)
    found = [p.hint for p in check_start(str(tmp_path), student, make_run().corpus)]
    assert f"it has {source.multipliers['logits_scaling']:g}" in " ".join(h.replace(".0", "") for h in found)
    with pytest.raises(ConfigError, match="logits_scaling"):
        start_from(build_model(student, seed=1), tmp_path, 80)
    same = build_model(source, seed=1)
    start_from(same, tmp_path, 80)
    assert all(value.equal(model.state_dict()[name]) for name, value in same.state_dict().items())


@pytest.mark.parametrize(("parametrisation", "flat"), [("muP", True), ("standard", False)])
def test_activations_move_alike_at_all_widths(parametrisation: str, flat: bool) -> None:
    """`python -m tests.models.coordinate_check` does it for widths to 512."""
    found = [changes(checked(width, parametrisation), steps=4) for width in (32, 128)]
    exponents = {kind: slope([32, 128], [one[kind] for one in found]) for kind in KINDS}
    steep = {kind for kind, exponent in exponents.items() if abs(exponent) > 0.2}
    assert steep == (set() if flat else set(KINDS) - {"embedding"}), exponents
