"""Small students of the families of transformers, and the table of what holds of each.

`python -m tests.models.families` tests all of them and writes the table into pdstudy/models/README.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdstudy.config.model import TransformersConfig
from pdstudy.models.count import examine
from tests.distill.teacher_families import column

README = Path(__file__).parents[2] / "pdstudy" / "models" / "README.md"
BEGIN, END = "<!-- families: begin -->\n", "<!-- families: end -->\n"
CONTEXT = 64

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2}  # fmt: skip
NARROW = {**SIZES, "head_dim": 16}
OLD = {"n_embd": 64, "n_layer": 2, "n_head": 4}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
          "v_head_dim": 8}  # fmt: skip

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": SIZES,
    "mistral": {**SIZES, "sliding_window": 8},
    "ministral": {**NARROW, "sliding_window": 8},
    "qwen2": {**SIZES, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": NARROW,
    "gemma": NARROW,
    "gemma2": {**NARROW, "sliding_window": 8},
    "gemma3_text": {**NARROW, "sliding_window": 8, "num_hidden_layers": 6},
    "phi": SIZES,
    "phi3": {**SIZES, "sliding_window": 8},
    "gpt2": {**OLD, **STILL},
    "gpt_neo": {
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "window_size": 8,
        "attention_types": ((("global", "local"), 1),),
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
        "resid_dropout": 0.0,
    },
    "gpt_neox": {name: value for name, value in SIZES.items() if name != "num_key_value_heads"},
    "gptj": {**OLD, **STILL, "rotary_dim": 8},
    "gpt_bigcode": {**OLD, **STILL},
    "gpt_oss": {**NARROW, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    "olmo": SIZES,
    "olmo2": SIZES,
    "olmo3": {**SIZES, "sliding_window": 8, "num_hidden_layers": 4},
    "olmoe": {**SIZES, "num_experts": 4, "num_experts_per_tok": 2},
    "glm": NARROW,
    "glm4": NARROW,
    "cohere": SIZES,
    "cohere2": {**SIZES, "sliding_window": 8, "num_hidden_layers": 4},
    "granite": {**SIZES, "logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
    "granitemoe": {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2},
    "starcoder2": {**SIZES, "sliding_window": 8},
    "stablelm": SIZES,
    "smollm3": {**SIZES, "num_hidden_layers": 4},
    "mixtral": {**SIZES, "num_local_experts": 4},
    "qwen2_moe": {**SIZES, **EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_moe": {**NARROW, **EXPERTS},
    "deepseek_v3": {
        **SIZES,
        **LATENT,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "router_aux_loss_coef": 0.0,
    },
    "opt": {
        "hidden_size": 64,
        "ffn_dim": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
    },
    "falcon": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.0, "attention_dropout": 0.0},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "nemotron": NARROW,
    "exaone4": {**SIZES, "sliding_window": 8, "num_hidden_layers": 4},
    "ernie4_5": NARROW,
    "helium": NARROW,
    "ernie4_5_moe": {
        **SIZES,
        "moe_num_experts": 4,
        "moe_k": 2,
        "moe_intermediate_size": 32,
        "moe_layer_start_index": 1,
    },
    "qwen3_next": {
        **NARROW,
        **EXPERTS,
        "shared_expert_intermediate_size": 32,
        "num_hidden_layers": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    },
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2},
}
"""Settings of a small student of each family, by model type: with windows where the family may have them."""

REFUSED: Mapping[str, tuple[str, ...]] = {"qwen3_next": ("packed",), "mamba": ("packed",)}
"""Parts of the self-test that fail by model type: recurrent layers carry their state across documents."""


def student_of(family: str) -> TransformersConfig:
    """The small student of a family."""
    return TransformersConfig(model_type=family, settings=tuple(FAMILIES[family].items()), vocab=96)


@functools.cache
def examined(family: str) -> dict[str, Any]:
    """The counts and the self-test of a family's small student."""
    return examine(student_of(family), CONTEXT)


def _student(family: str) -> str:
    """Parts of training: states times head against logits, one document, two packed ones, a resumed step."""
    found = examined(family)
    if "refused" in found:
        return f"refused: {found['refused']['hint'] or found['refused']['allowed']}"
    bad = [part for part in ("embedding", "head", "resume") if part in found["faults"]]
    if bad:
        return "refused: " + ", ".join(bad)
    plain = max(found["differences"][part] for part in ("head", "resume"))
    packed = max(found["differences"][part] for part in ("mask", "packed"))
    documents = "`cross` only" if not packed < 1e-3 else f"{packed:.0e}"
    return f"{_number(plain)}; documents apart: {documents}"


def _exported(family: str) -> str:
    difference = examined(family).get("differences", {}).get("export", math.inf)
    return "-" if math.isinf(difference) else _number(difference)


def _number(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def _teacher(way: str, family: str) -> str:
    return column(student_of(family), way)


COLUMNS: dict[str, Callable[[str], str]] = {
    "teacher stored": functools.partial(_teacher, "stored"),
    "teacher live": functools.partial(_teacher, "live"),
    "student": _student,
    "exported": _exported,
}
"""Columns of the table: what to say of a family, by title. Each is the largest difference seen, or a refusal."""


def make_table() -> str:
    """The table in Markdown."""
    rows = [["family", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    rows += [[f"`{family}`", *(say(family) for say in COLUMNS.values())] for family in FAMILIES]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_table() -> None:
    """Put the table between its marks in the README."""
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + make_table() + END + rest.split(END)[1])


if __name__ == "__main__":
    write_table()
