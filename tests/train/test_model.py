import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from pdstudy.config.model import Shape, TransformersConfig
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.models.build_model import build_model, parameter_counts
from pdstudy.models.export import export
from pdstudy.models.flops import count
from pdstudy.models.student_config import transformers_config
from tests.core.test_normal import make_run

BASE = {"width": 32, "layers": 2, "heads": 4, "query_groups": 2, "ffn": 48, "vocab": 96}
SHAPES = [
    Shape(**BASE),
    Shape(**BASE, tied=False),
    Shape(**{**BASE, "query_groups": 4, "layers": 3}),
    Shape(**{**BASE, "query_groups": 1}, tied=False, head_dim=16),
]
GPT2 = (("n_embd", 32), ("n_layer", 2), ("n_head", 4), ("n_positions", 64))
NO_DROPOUT = (("resid_pdrop", 0.0), ("embd_pdrop", 0.0), ("attn_pdrop", 0.0), ("summary_first_dropout", 0.0))


def flops_of(model: PreTrainedModel, batch: int, context: int) -> int:
    # torch's counter has no formula for the CPU's own flash attention; the plain one is two matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(batch, context, dtype=torch.long))
    return counter.get_total_flops()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_counts_what_the_real_model_has(shape: Shape) -> None:
    model = build_model(shape, seed=0)
    counted = shape.parameters()
    assert parameter_counts(model) == vars(counted)
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert flops_of(model, batch=2, context=24) == 2 * 24 * shape.forward_flops(24)
    assert count(shape, 24) == {**vars(counted), "forward_flops": shape.forward_flops(24)}


def test_another_transformers_model_is_counted_on_the_meta_device() -> None:
    student = TransformersConfig(model_type="gpt2", settings=GPT2 + NO_DROPOUT, vocab=96)
    model = build_model(student, seed=0)
    counted = count(student, 24)
    assert {name: counted[name] for name in ("embedding", "non_embedding", "head")} == parameter_counts(model)
    assert counted["forward_flops"] * 24 == flops_of(model, batch=1, context=24)


def test_initial_weights_depend_on_student_and_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = build_model(SHAPES[1], seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    same, other = build_model(SHAPES[1], seed=3).state_dict(), build_model(SHAPES[1], seed=4).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert not torch.equal(one["model.embed_tokens.weight"], one["lm_head.weight"])


def test_initial_weights_have_the_declared_scale() -> None:
    weight = build_model(Shape(**BASE, init_std=0.1), seed=0).state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert weight.std().item() == pytest.approx(0.1, rel=0.1)


def test_rope_theta_is_where_old_and_new_readers_look(tmp_path: Path) -> None:
    config = transformers_config(Shape(**BASE, rope_theta=50_000.0))
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["rope_theta"] == 50_000
    assert type(config).from_pretrained(tmp_path).rope_parameters["rope_theta"] == 50_000
    theirs = build_model(Shape(**BASE, rope_theta=50_000.0), seed=0).base_model.rotary_emb.inv_freq
    assert theirs[-1].item() == pytest.approx(50_000.0 ** -(6 / 8))


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (TransformersConfig(model_type="gpt2", settings=GPT2, vocab=96), "resid_pdrop"),
        (TransformersConfig(model_type="gpt2", settings=(*GPT2, ("n_layers_", 2)), vocab=96), "n_layers_"),
        (TransformersConfig(model_type="nothing", vocab=96), "'nothing'"),
    ],
)
def test_settings_that_would_train_something_else_are_refused(student: TransformersConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_model(student, seed=0)


def test_building_one_model_leaves_the_next_alone() -> None:
    config = transformers_config(SHAPES[0])
    before = copy.deepcopy(config.to_dict())
    build_model(SHAPES[0], seed=0)
    assert config.to_dict() == before


def test_the_norm_has_the_declared_epsilon() -> None:
    for eps in (1e-5, 1e-3):
        student = Shape(**BASE, norm_eps=eps)
        assert transformers_config(student).rms_norm_eps == eps
        assert build_model(student, seed=0).model.norm.variance_epsilon == eps
    assert transformers_config(Shape(**BASE)).rms_norm_eps == Shape(**BASE).norm_eps


@pytest.mark.integration
def test_an_export_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """A run that ended before its result was written exports its model once more."""
    run = make_run(student=Shape(**BASE))
    corpus = TokenCorpus(tmp_path / "corpus", {"vocab": 90, "eos": 0})
    corpus.tokenizer_dir.mkdir(parents=True)
    (corpus.tokenizer_dir / "tokenizer.json").write_text("{}")
    folder = tmp_path / "model"
    for seed in (0, 1):
        model = build_model(Shape(**BASE), seed=seed)
        export(model.config, model.state_dict(), folder, run=run, key="k", corpus=corpus, steps=10, evals=[])
        expected = model.state_dict()["model.embed_tokens.weight"][:90]
        assert torch.equal(load_file(folder / "model.safetensors")["model.embed_tokens.weight"], expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "model"]
