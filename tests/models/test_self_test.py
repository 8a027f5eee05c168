"""The self-test finds each fault that it is for, and planning refuses what it finds."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from pdstudy.config.data import View
from pdstudy.config.model import TransformersConfig
from pdstudy.core.validation import Problem
from pdstudy.models import attention
from pdstudy.models import self_test as tests
from pdstudy.models.build_model import build_model, with_loss
from pdstudy.models.count import examine
from pdstudy.plan import cost, model_size
from tests.core.test_normal import make_run
from tests.models.families import CONTEXT, FAMILIES, NARROW, OLD, STILL, student_of

SLOWER = pytest.mark.integration


def failed(family: str) -> dict[str, str]:
    return tests.self_test(student_of(family), CONTEXT, 0).faults


@pytest.mark.parametrize(
    "family", ["mistral", *(pytest.param(name, marks=SLOWER) for name in ("gemma2", "gpt_oss", "opt", "bloom"))]
)
def test_documents_that_see_each_other_are_found(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed(family) == {}
    monkeypatch.setattr("pdstudy.models.build_model.respecting", lambda positions: attention.respecting(None))
    # Families that look at positions separate documents themselves.
    assert set(failed(family)) == ({"packed"} if family in ("gpt_oss", "opt", "bloom") else set())


def test_a_mask_without_the_window_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One mask for all layers, as was given to every family, takes the windows away."""
    whole = functools.partial(with_loss, ready_masks=True)
    monkeypatch.setattr(tests, "with_loss", whole)
    assert set(failed("mistral")) == {"mask", "packed"}


def test_a_row_that_is_never_trained_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen(model: PreTrainedModel) -> None:
        model.get_input_embeddings().padding_idx = 3
        move(model)

    move: Callable[[PreTrainedModel], None] = tests._move_parameters
    monkeypatch.setattr(tests, "_move_parameters", frozen)
    assert "embedding" in failed("llama")


@pytest.mark.parametrize(("family", "part"), [("gemma2", "soft_cap"), ("cohere", "logit_scale"), ("phi", "_bias")])
def test_a_head_of_another_kind_is_found(family: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"pdstudy.distill.head.{part}", lambda _: 1.0 if part == "logit_scale" else None)
    if part == "soft_cap":
        monkeypatch.setattr("pdstudy.models.build_model.soft_cap", lambda _: None)
    assert {"head", "export"} <= set(failed(family))


def test_a_model_that_sees_later_tokens_is_found() -> None:
    """BERT is a causal language model by name alone."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
             "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
    student = TransformersConfig(model_type="bert", settings=tuple(sizes.items()), vocab=96)
    assert "causal" in tests.self_test(student, CONTEXT, 0).faults


def test_a_random_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdstudy.models.student_config._refuse_random", lambda _: None)
    student = TransformersConfig(
        model_type="gpt2", settings=tuple({**OLD, **STILL, "resid_pdrop": 0.2}.items()), vocab=96
    )
    assert "resume" in tests.self_test(student, CONTEXT, 0).faults


@pytest.mark.parametrize(
    ("family", "positions"), [("gpt2", "n_positions"), ("opt", "max_position_embeddings"), ("gptj", "n_positions")]
)
def test_a_context_beyond_the_positions_is_refused(family: str, positions: str) -> None:
    """GPT-2 with 32 positions at a context of 64 went through the plan."""
    settings = {**FAMILIES[family], positions: 32}
    student = TransformersConfig(model_type=family, settings=tuple(settings.items()), vocab=96)
    assert tests.self_test(student, 32, 0).faults == {}
    assert tests.self_test(student, 64, 0).faults["positions"][1] == f"{positions} of 64 or more"


@pytest.mark.parametrize("family", ["gemma", "glm4", "phi3", "olmo2", "opt"])
def test_the_token_that_a_family_takes_for_padding_is_trained(family: str) -> None:
    """Its embedding began at zero and stayed there."""
    student = student_of(family)
    model = build_model(student, seed=0)
    assert all(m.padding_idx is None for m in model.modules() if isinstance(m, nn.Embedding))
    assert (model.get_input_embeddings().weight.norm(dim=1) > 0).all()
    above = dataclasses.replace(student, settings=(*student.settings, ("pad_token_id", 5_000)))
    assert torch.equal(build_model(above, seed=0).get_input_embeddings().weight, model.get_input_embeddings().weight)


def examine_here(students: list[model_size.Sized]) -> list[dict[str, Any]]:
    return [examine(student, context) for student, context in students]


def test_all_that_fails_is_refused_in_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_size, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(model_size, "_examine", examine_here)
    short = TransformersConfig(model_type="gpt2", settings=tuple({**OLD, **STILL, "n_positions": 32}.items()), vocab=96)
    recurrent = student_of("mamba")
    runs = [make_run(student=short), make_run(student=recurrent)]
    runs += [make_run(student=student, view=View(context=64, documents="respect")) for student in (recurrent, short)]
    found = [(runs.index(run), str(problem)) for run, problem in model_size.check_students(runs)]
    position = (
        "student: found 'gpt2'; allowed: n_positions of 64 or more "
        "(it has no position for the last of the view's 64 tokens)"
    )
    assert [found[0], found[2]] == [(0, position), (3, position)]
    assert found[1][0] == 2
    assert found[1][1].startswith(
        "student: found 'mamba'; allowed: view.documents='cross' (it computes a document diff"
    )
    monkeypatch.setattr(model_size, "_examine", None)  # all is remembered
    assert cost.sizes(runs[1])[0] > 0


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (TransformersConfig(model_type="t5", vocab=96), "has no causal language model"),
        (TransformersConfig(model_type="nothing", vocab=96), "allowed: a transformers type"),
        (
            TransformersConfig(model_type="helium", settings=(("hidden_size", 64),), vocab=96),
            "'helium'; allowed: sizes that fit",
        ),
        (TransformersConfig(model_type="deepseek_v3", vocab=96), r"allowed: \('router_aux_loss_coef', 0.0\)"),
        (TransformersConfig(model_type="qwen3", settings=(("hidden_size", "wide"),), vocab=96), "hidden_size"),
        (
            TransformersConfig(model_type="qwen3", settings=(*NARROW.items(), ("layers", 2)), vocab=96),
            "found 'layers'; allowed: settings of Qwen3Config",
        ),
        (TransformersConfig(model_type="phimoe", settings=(("hidden_size", 64),), vocab=96), "router_jitter_noise"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(student: TransformersConfig, words: str) -> None:
    refused = str(Problem(**examine(student, 16)["refused"]))
    assert "\n" not in refused
    assert re.search(words, refused), refused
