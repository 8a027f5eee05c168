"""A study of what a researcher has: compressed text, a teacher's folder, published configurations made small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tests.core.cli import call
from tests.models.published import PUBLISHED

STUDY = """
from pdstudy import *

STEP = 256

def small(file, **changed):
    return TransformersConfig.from_folder(f"configs/{file}", vocab=320, hidden_size=32, intermediate_size=48,
                                          num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, **changed)

def study():
    corpus = Corpus(sources=(LocalFiles(paths=("*.jsonl.zst",)),), tokenizer=PretrainedTokenizer(path="teacher"),
                    validation=0.1, test=0.1)
    students = {"mistral": small("Mistral-7B-v0.1.json", sliding_window=8),
                "gemma": small("gemma-2-2b.json", head_dim=8),
                "mixtral": small("Mixtral-8x7B.json", num_local_experts=4)}
    kd = KD(teacher=Pretrained(path="teacher"), truncation=TopPK(p=0.95, k=20), alpha=0.5)
    base = Run(student=students["mistral"], corpus=corpus, data=Slice(tokens=12 * STEP), view=View(context=32),
               optimiser=AdamW(lr=5e-3), schedule=Cosine(warmup_tokens=STEP), tokens_per_step=STEP, steps=12)
    return Study(name="own", base=base, seeds=(0, 1), baseline={"loss": "LM"},
                 grid=axis("student", students) * axis("loss", {"LM": LM(), "KD": kd}, field="objective"),
                 evaluations=(Heldout(data=Slice(split="validation", tokens=512)),
                              Heldout(data=Slice(split="test", tokens=512))),
                 outputs=(Curves(lines="loss", panels="student"), Compare(), Cost()))
"""


def write_texts(folder: Path) -> list[str]:
    library = Path(json.__file__).parent.parent
    texts = [t for m in sorted(library.glob("[a-c]*.py")) for t in m.read_text(errors="ignore").split("\n\n")]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "texts.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))
    return texts


def write_teacher(folder: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = Qwen3Config(
        vocab_size=310, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen3ForCausalLM(sizes).save_pretrained(folder)


@pytest.mark.slow
def test_own_text_teacher_and_students_go_from_plan_to_report(tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher", write_texts(tmp_path))
    (tmp_path / "configs").mkdir()
    for name in ("Mistral-7B-v0.1", "gemma-2-2b", "Mixtral-8x7B"):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(PUBLISHED[name]))
    (tmp_path / "own.py").write_text(STUDY)
    planned = call(tmp_path, "plan", "own.py")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "experts: of the " in planned.stdout
    ran = call(tmp_path, "run", "own.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert call(tmp_path, "report", "own.py").returncode == 0
    assert (tmp_path / "reports" / "own" / "index.html").is_file()
    rows = json.loads(call(tmp_path, "results", "own.py", "--json").stdout)
    assert len(rows) == 12
    assert all(1 < row["test_loss"] < 6 for row in rows)
    assert all(row["active"] < row["total"] for row in rows if row["student"] == "mixtral")
    kinds = {
        AutoModelForCausalLM.from_pretrained(folder).config.model_type
        for folder in (tmp_path / "workspace" / "runs").glob("*/model")
    }
    assert kinds == {"mistral", "gemma2", "mixtral"}
