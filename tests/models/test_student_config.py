"""Settings of transformers students: nested ones, those of published files, and what is identity."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pdstudy.config.model import TransformersConfig, as_mapping, as_pairs
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.models.attention import choose
from pdstudy.models.student_config import transformers_config
from tests.models.families import OLD, STILL, student_of

QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
    "intermediate_size": 12288, "max_position_embeddings": 40960, "max_window_layers": 36, "model_type": "qwen3",
    "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
    "vocab_size": 151936, "some_field_of_tomorrow": {"depth": [1, 2]},
}  # fmt: skip


def write(folder: Path, config: dict[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder / "config.json")


def test_a_published_config_with_a_few_fields_changed_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, QWEN3)
    student = TransformersConfig.from_folder(path, hidden_size=64, num_hidden_layers=2, vocab=300)
    assert student == TransformersConfig.from_folder(str(tmp_path), num_hidden_layers=2, hidden_size=64, vocab=300)
    assert list(problems(student)) == []
    assert decode(json.loads(json.dumps(encode(student)))) == student
    config = transformers_config(student)
    assert (config.hidden_size, config.num_hidden_layers, config.head_dim, config.vocab_size) == (64, 2, 128, 300)
    assert config.rope_parameters["rope_theta"] == 1_000_000
    assert TransformersConfig.from_folder(path).vocab == 151_936


def test_a_wrong_name_among_the_changed_fields_is_refused(tmp_path: Path) -> None:
    student = TransformersConfig.from_folder(write(tmp_path, QWEN3), hidden_layers=2)
    with pytest.raises(ConfigError, match="found 'hidden_layers'; allowed: settings of Qwen3Config"):
        transformers_config(student)


def test_where_a_file_came_from_is_no_identity(tmp_path: Path) -> None:
    student = TransformersConfig.from_folder(write(tmp_path, QWEN3), hidden_size=64)
    assert fingerprint(student) == fingerprint(dataclasses.replace(student, published=()))


def test_the_text_part_of_a_model_with_images_is_taken(tmp_path: Path) -> None:
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 64,
        "vocab_size": 500,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    path = write(tmp_path, {"model_type": "gemma3", "text_config": text, "tie_word_embeddings": False})
    student = TransformersConfig.from_folder(path)
    assert (student.model_type, student.vocab) == ("gemma3_text", 500)
    assert not transformers_config(student).tie_word_embeddings
    assert transformers_config(student).rope_parameters["full_attention"]["factor"] == 8


@pytest.mark.parametrize("content", [{}, {"model_type": "qwen3"}, {"vocab_size": 8}])
def test_a_file_of_no_language_model_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no"):
        TransformersConfig.from_folder(write(tmp_path, content))
    with pytest.raises(ConfigError, match=r"allowed: a config\.json"):
        TransformersConfig.from_folder(str(tmp_path / "nowhere"))


def test_layers_of_each_kind_remain_in_a_model_of_few_layers(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"] + ["sliding_attention"] * 2
    path = write(
        tmp_path, {"model_type": "gemma3_text", "vocab_size": 500, "layer_types": kinds, "num_hidden_layers": 8}
    )
    config = transformers_config(TransformersConfig.from_folder(path, num_hidden_layers=3))
    assert config.layer_types == ["sliding_attention", "sliding_attention", "full_attention"]


def test_a_mapping_is_written_as_pairs() -> None:
    rope = {"rope_type": "default", "rope_theta": 5e5}
    assert as_mapping(as_pairs(rope)) == rope
    assert as_mapping(as_pairs({"layers": ["full", "local"], "none": None})) == {
        "layers": ["full", "local"],
        "none": None,
    }
    made = [
        TransformersConfig(model_type="llama", vocab=64, settings=(("rope_parameters", pairs),))
        for pairs in (as_pairs(rope), (("rope_type", "default"), ("rope_theta", 5e5)))
    ]
    for student in made:
        assert transformers_config(student).rope_parameters["rope_theta"] == 5e5
        assert list(problems(student)) == []
    older = TransformersConfig(model_type="llama", vocab=64, settings=(("rope_theta", 5e5),))
    assert transformers_config(older).rope_parameters["rope_theta"] == 5e5
    assert fingerprint(made[0]) == fingerprint(made[1])


def test_a_whole_number_is_a_float_where_it_must_be() -> None:
    """Stored declarations have 30 for 30.0, which transformers refuses."""
    student = TransformersConfig(model_type="gemma2", vocab=64, settings=(("final_logit_softcapping", 30.0),))
    stored = decode(json.loads(json.dumps(encode(student))))
    assert transformers_config(stored).final_logit_softcapping == 30
    assert type(stored.settings[0][1]) is int


@pytest.mark.parametrize(
    ("family", "name"), [("mixtral", "num_experts"), ("qwen3_moe", "head_dim"), ("gpt2", "max_position_embeddings")]
)
def test_names_that_a_family_reads_are_settings(family: str, name: str) -> None:
    """Other names of fields, and what the code of a model reads beside the fields of its configuration."""
    student = TransformersConfig(model_type=family, vocab=64, settings=((name, 16), *STILL_OF.get(family, ())))
    assert getattr(transformers_config(student), name) == 16


STILL_OF = {"gpt2": tuple(STILL.items())}


def test_families_without_sdpa_have_plain_attention() -> None:
    cpu = torch.device("cpu")
    for family, attention in {"gemma2": "eager", "gpt_oss": "eager", "gemma3_text": "sdpa", "mpt": "eager"}.items():
        assert choose("auto", student=student_of(family), precision="float32", device=cpu) == attention
        assert choose("eager", student=student_of(family), precision="float32", device=cpu) == "eager"
    with pytest.raises(ConfigError, match="found 'sdpa'; allowed for Gemma2ForCausalLM: 'eager' or 'auto'"):
        choose("sdpa", student=student_of("gemma2"), precision="float32", device=cpu)


def test_settings_are_checked() -> None:
    twice = TransformersConfig(model_type="gpt2", vocab=64, settings=(("n_layer", 2), ("n_layer", 3)))
    assert [problem.allowed for problem in problems(twice)] == ["each setting once"]
    odd = TransformersConfig(model_type="gpt2", vocab=64, settings=(("n_layer", [2]), ("n_head", float("nan"))))
    assert [problem.field for problem in problems(odd)] == ["settings[0]", "settings[1]"]


@pytest.mark.parametrize(
    ("family", "settings", "acting"),
    [
        ("gpt2", {**OLD, "summary_first_dropout": 0.1}, ("resid_pdrop", "embd_pdrop", "attn_pdrop")),
        ("gpt2", {**OLD, **STILL, "summary_first_dropout": 0.1}, ()),
        ("gpt_neox", {"classifier_dropout": 0.1}, ()),
        ("gpt_neox", {"hidden_dropout": 0.1}, ("hidden_dropout",)),
        ("opt", {"dropout": 0.0, "layerdrop": 0.1}, ("layerdrop",)),
        ("mixtral", {"router_jitter_noise": 0.01}, ("router_jitter_noise",)),
    ],
)
def test_dropout_that_acts_is_refused_and_no_other(
    family: str, settings: dict[str, Any], acting: tuple[str, ...]
) -> None:
    student = TransformersConfig(model_type=family, vocab=64, settings=tuple(settings.items()))
    if not acting:
        assert transformers_config(student)
        return
    with pytest.raises(ConfigError) as caught:
        transformers_config(student)
    assert all(f"('{name}', 0.0)" in str(caught.value) for name in acting)
    assert "summary" not in str(caught.value)
