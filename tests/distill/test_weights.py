"""Model folders whose weights are not all there, not those that were written, or not numbers, are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    PreTrainedModel,
)
from transformers.models.gemma3 import Gemma3Config

import pdstudy
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.teacher.load import load_teacher
from pdstudy.distill.teacher.weights import DIGESTS, check_finite, load_causal_lm, write_digests

SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip


def llama(folder: Path, *, shards: bool = False, tied: bool = False) -> Path:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=tied))
    model.save_pretrained(folder, max_shard_size="4KB" if shards else "1GB")
    return folder


def test_all_weights_are_loaded(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    stored = load_file(folder / "model.safetensors")
    model = load_causal_lm(folder, dtype=torch.float32)
    assert all(torch.equal(value, stored[name]) for name, value in model.named_parameters())


def moe() -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(MixtralConfig(**SMALL, num_local_experts=4))


def multimodal() -> PreTrainedModel:
    text = Gemma3TextConfig(**SMALL, head_dim=8)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text.to_dict(), vision_config=vision))


def gpt2() -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=32))


@pytest.mark.parametrize("make", [moe, multimodal, gpt2])
def test_whole_folders_of_other_kinds_are_not_refused(make, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "model")
    load_causal_lm(tmp_path / "model", dtype=torch.float32)


def test_a_tied_head_is_not_missing(tmp_path: Path) -> None:
    folder = llama(tmp_path / "tied", tied=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    load_causal_lm(folder, dtype=torch.float32)


def test_a_lost_layer_is_refused(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    file = folder / "model.safetensors"
    weights = {k: v for k, v in load_file(file).items() if ".layers.1." not in k}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 9 weights of its configuration, model\.layers\.1\..*random"):
        load_causal_lm(folder, dtype=torch.float32)


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", shards=True)
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ConfigError, match=re.escape(str(lost))) as caught:
        load_causal_lm(folder, dtype=torch.float32)
    assert "\n" not in str(caught.value)


def test_a_compiled_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    file = folder / "model.safetensors"
    save_file({f"_orig_mod.{k}": v for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"it has _orig_mod\..*model\._orig_mod\.save_pretrained"):
        load_causal_lm(folder, dtype=torch.float32)


def test_a_truncated_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=re.escape(str(file))) as caught:
        load_causal_lm(folder, dtype=torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json"])
def test_a_flipped_byte_is_noticed_where_digests_were_written(name: str, tmp_path: Path) -> None:
    """A digit of config.json, such as that of `rms_norm_eps`, changes logits as one of a weight does."""
    folder = llama(tmp_path / "llama")
    write_digests(folder)
    load_causal_lm(folder, dtype=torch.float32)
    file = folder / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=f"is damaged: its sha256 is not the one in {DIGESTS}"):
        load_causal_lm(folder, dtype=torch.float32)


def test_remote_code_is_neither_run_nor_asked_about(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ConfigError, match="no transformers model can be read from"):
        load_causal_lm(folder, dtype=torch.float32)


def test_nothing_loads_a_folder_without_saying_no_to_remote_code() -> None:
    root = Path(pdstudy.__file__).parent
    calls = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text()
        for call in re.finditer(r"\.from_pretrained\(((?:[^()]|\([^()]*\))*)\)", text):
            calls.append(f"{path.name}: {call[1]}")
        assert "torch.load(" not in text
        assert "pickle.load" not in text
    assert len(calls) >= 4
    assert [call for call in calls if "trust_remote_code=False" not in call] == []
    models = [call for call in calls if "dtype" in call or "output_loading_info" in call]
    assert [call for call in models if "use_safetensors=True" not in call and "gguf_file=" not in call] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_numbers_name_teacher_and_position(value: float) -> None:
    logits = torch.zeros(2, 5, 8, dtype=torch.bfloat16)
    check_finite(logits, Path("teacher"), [4, 7])
    logits[1, 3, 2] = value
    with pytest.raises(ConfigError, match=r"the teacher teacher has logits .* first at position 3 of sequence 7"):
        check_finite(logits, Path("teacher"), [4, 7])


def test_a_teacher_reads_contexts_up_to_its_longest(teacher: Path, corpus: TokenCorpus) -> None:
    assert load_teacher(teacher, corpus, 64, torch.float32).config.max_position_embeddings == 64
    with pytest.raises(ConfigError, match="reads 64 tokens at most, the view has 65"):
        load_teacher(teacher, corpus, 65, torch.float32)
