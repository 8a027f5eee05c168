"""A GGUF file that lacks weights, or is cut short, makes no teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pdstudy.core.errors import ConfigError
from pdstudy.models.gguf import from_gguf

gguf = pytest.importorskip("gguf")

TENSORS = {
    "token_embd.weight": (16, 8), "output_norm.weight": (8,), "output.weight": (16, 8),
    "blk.0.attn_norm.weight": (8,), "blk.0.ffn_norm.weight": (8,),
    **{f"blk.0.attn_{name}.weight": (8, 8) for name in ("q", "k", "v", "output")},
    "blk.0.ffn_gate.weight": (12, 8), "blk.0.ffn_up.weight": (12, 8), "blk.0.ffn_down.weight": (8, 12),
}  # fmt: skip
"""Shapes of the tensors of a Llama of one layer, by GGUF's names."""


def write(path: Path, *, without: str = "") -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(12)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(16)
    generator = np.random.default_rng(0)
    for name, shape in TENSORS.items():
        if name != without:
            writer.add_tensor(name, generator.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("lost", ["blk.0.attn_norm.weight", "blk.0.ffn_up.weight", "output_norm.weight"])
def test_a_file_without_a_weight_is_refused(lost: str, tmp_path: Path) -> None:
    """transformers says only in a log that such weights are random."""
    with pytest.raises(ConfigError, match=r"tiny\.gguf lacks 1 weights of its model, .*which would be random"):
        from_gguf(write(tmp_path / "tiny.gguf", without=lost), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_file_that_is_cut_short_is_one_line(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ConfigError, match=r"^no model can be read from \S+tiny\.gguf: [^\n]+$"):
        from_gguf(path, tmp_path / "folder")
