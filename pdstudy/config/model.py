"""Model shapes: parameters and FLOPs per token from the shape alone, without torch.

FLOPs count multiply and add as two, matrix products only, and attention scores over the whole context (no discount
for the causal mask), which is what `torch.utils.flop_counter` reports for the real model. Training is three forwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pdstudy.core.identity import declared
from pdstudy.core.validation import Problem


@dataclass(frozen=True)
class Parameters:
    """Parameter counts by group. `head` is 0 where the output head shares the embedding (tied)."""

    embedding: int
    non_embedding: int
    head: int

    @property
    def total(self) -> int:
        return self.embedding + self.non_embedding + self.head


@declared
class Shape:
    """A Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.

    `width` is the hidden size, `query_groups` the number of key/value heads (GQA), `ffn` the hidden size of the
    gated feed-forward block, `vocab` the rows of the embedding (it may exceed the tokenizer's size: padding rows are
    never predicted), `tied` whether the head is the embedding.
    """

    width: int
    layers: int
    heads: int
    query_groups: int
    ffn: int
    vocab: int
    tied: bool = True
    head_dim: int | None = None
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    init_std: float = 0.02

    def check(self) -> Iterator[Problem]:
        for name in ("width", "layers", "heads", "query_groups", "ffn", "vocab"):
            if getattr(self, name) < 1:
                yield Problem(name, getattr(self, name), "a whole number, 1 or more")
                return
        for name in ("head_dim", "rope_theta", "norm_eps", "init_std"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                yield Problem(name, getattr(self, name), "above 0")
        if self.heads % self.query_groups:
            yield Problem("query_groups", self.query_groups, f"a divisor of heads = {self.heads}")
        if self.head_dim is None and self.width % self.heads:
            yield Problem("heads", self.heads, f"a divisor of width = {self.width}, or set head_dim")
        elif self.dim_per_head % 2:
            yield Problem("head_dim", self.dim_per_head, "an even number (rotary positions pair the dimensions)")

    @property
    def dim_per_head(self) -> int:
        return self.head_dim if self.head_dim is not None else self.width // self.heads

    @property
    def matmul_parameters(self) -> int:
        """Weights that multiply each token once in the blocks: everything but norms, embedding and head."""
        attention = self.width * self.dim_per_head * (2 * self.heads + 2 * self.query_groups)
        return self.layers * (attention + 3 * self.width * self.ffn)

    def parameters(self) -> Parameters:
        norms = self.width * (2 * self.layers + 1)
        table = self.vocab * self.width
        return Parameters(table, self.matmul_parameters + norms, 0 if self.tied else table)

    def forward_flops(self, context: int) -> float:
        """Forward FLOPs per token at a context of `context` tokens, the head included."""
        attention = 4 * self.layers * self.heads * self.dim_per_head * context
        return float(2 * (self.matmul_parameters + self.vocab * self.width) + attention)


@declared
class TransformersConfig:
    """Any other transformers decoder, by `model_type` and settings, e.g. `("hidden_size", 64)` pairs.

    Its parameters and FLOPs are counted once on torch's meta device, in a process of its own, and cached.
    """

    model_type: str
    settings: tuple[tuple[str, int | float | bool | str], ...] = ()
    vocab: int

    def content(self) -> dict[str, Any]:
        """Settings are a mapping: in whatever order they are written, it is one model."""
        return {"settings": tuple(sorted(self.settings))}

    def check(self) -> Iterator[Problem]:
        if self.vocab < 1:
            yield Problem("vocab", self.vocab, "a whole number, 1 or more")


Student = Shape | TransformersConfig
