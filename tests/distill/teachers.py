"""Small transformers teachers with random but peaked distributions."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pdstudy.corpus import TokenCorpus


def make_teacher(folder: Path, corpus: TokenCorpus, seed: int = 0, padding: int = 24) -> LlamaForCausalLM:
    """Save a Llama whose vocabulary exceeds the corpus's by `padding`, with the corpus's tokenizer; return it."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=corpus.vocab + padding,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.15,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    model.lm_head.weight.data.mul_(4)
    model.save_pretrained(folder)
    shutil.copytree(corpus.tokenizer_dir, folder, dirs_exist_ok=True)
    return model
