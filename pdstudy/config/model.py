"""Model shapes: parameters and FLOPs per token from the shape alone, without torch.

FLOPs count multiply and add as two, matrix products only, and attention scores over the whole context (no discount
for the causal mask), which is what `torch.utils.flop_counter` reports for the real model. Training is three forwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, user_path
from pdstudy.core.identity import declared, neutral
from pdstudy.core.origin import remember_origin
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
class MuP:
    """Maximal update parametrisation: a learning rate found at a small width holds at larger ones.

    It is the standard parametrisation, number for number, at `base_width`; with m = width / base_width elsewhere (Yang
    et al. 2022, arXiv 2203.03466, Table 8) matrices of the blocks begin with deviation init_std / sqrt(m) and have the
    rate lr / m and the weight decay m x weight_decay, so that what AdamW takes off in a step, rate x decay, is the same
    at all widths; embedding, head (tied or not) and norms have init_std, lr and weight_decay as they are, and logits
    are divided by m. AdamW's eps is as it is. Heads, their size or both, and `ffn`, are to grow with the width.

    `base_head_dim`: the size of a head at the base, where sizes differ; scores are then
    sqrt(base_head_dim) / head_dim x q.k, which is 1 / sqrt(head_dim) at the base. `base_layers`: the depth of the base,
    where depths differ; residual branches are then multiplied by base_layers / layers (CompleteP, arXiv 2505.01618).
    """

    base_width: int
    base_head_dim: int | None = None
    base_layers: int | None = None

    def check(self) -> Iterator[Problem]:
        for name in ("base_width", "base_head_dim", "base_layers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                yield Problem(name, getattr(self, name), "a whole number, 1 or more")


@declared
class Shape:
    """A Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.

    `width` is the hidden size, `query_groups` the number of key/value heads (GQA), `ffn` the hidden size of the
    gated feed-forward block, `vocab` the rows of the embedding (it may exceed the tokenizer's size: padding rows are
    never predicted), `tied` whether the head is the embedding. With a `parametrisation`, `MuP`, it is a Granite: a
    Llama whose configuration has multipliers.
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
    parametrisation: MuP | None = neutral(None)

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
    def multipliers(self) -> dict[str, float]:
        """The multipliers of the model by their names in a Granite's configuration; `logits_scaling` divides."""
        found = {"logits_scaling": 1.0, "residual_multiplier": 1.0, "attention_multiplier": self.dim_per_head**-0.5}
        if (mup := self.parametrisation) is not None:
            found["logits_scaling"] = self.width / mup.base_width
            if mup.base_layers is not None:
                found["residual_multiplier"] = mup.base_layers / self.layers
            if mup.base_head_dim is not None:
                found["attention_multiplier"] = mup.base_head_dim**0.5 / self.dim_per_head
        return found

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

    A setting that is a mapping is written as pairs, too: `("rope_parameters", (("rope_type", "default"), ...))`, and a
    list as a tuple. `published` names settings that a published config.json brought along, of which transformers may
    have no use for some; they are not part of the identity.

    Its parameters and FLOPs are counted once on torch's meta device, in a process of its own, where a small model of
    its kind is also tested: that its export is the model that was trained.
    """

    model_type: str
    settings: tuple[tuple[str, Any], ...] = ()
    vocab: int
    published: tuple[str, ...] = neutral(())

    @classmethod
    def from_folder(cls, path: str, *, vocab: int | None = None, **changed: Any) -> TransformersConfig:
        """The model of a published config.json (the file, or its folder), some settings `changed`: a small Qwen3 is

            TransformersConfig.from_folder("Qwen3-8B/config.json", hidden_size=256, num_hidden_layers=6)

        `vocab` is that of the file unless given. Of a model with images it is the text part. Raises `ConfigError`
        where there is no such file, or it names no model.
        """
        file = user_path(path)
        file = file / "config.json" if file.is_dir() else file
        config = read_json(file, "download it again")
        if config is None:
            raise ConfigError(f"from_folder: found {path!r}; allowed: a config.json, or a folder that has one")
        tied = {name: config[name] for name in ("tie_word_embeddings",) if name in config}
        config = {**tied, **(config.get("text_config") or config)}
        rows = config.get("vocab_size") if vocab is None else vocab
        if "model_type" not in config:
            raise ConfigError(f"{file} has no model_type; allowed: the config.json of a language model")
        if not isinstance(rows, int):
            raise ConfigError(f"{file} has no vocab_size; allowed: from_folder(..., vocab=...), the rows of embedding")
        read = {name: value for name, value in config.items() if name not in BOOKKEEPING}
        layers = changed.get("num_hidden_layers")
        for name, value in read.items():
            if layers and isinstance(value, list) and len(value) == config.get("num_hidden_layers"):
                read[name] = _first_of_each(value, layers)
        settings = tuple((name, as_pairs(value)) for name, value in sorted({**read, **changed}.items()))
        published = tuple(sorted(read.keys() - changed.keys()))
        made = cls(model_type=config["model_type"], settings=settings, vocab=rows, published=published)
        remember_origin(made)
        return made

    def content(self) -> dict[str, Any]:
        """Settings are mappings: in whatever order they are written, it is one model."""
        settings = [(name, as_pairs(as_mapping(value))) for name, value in self.settings]
        return {"settings": tuple(sorted(settings, key=itemgetter(0))), "published": ()}

    def check(self) -> Iterator[Problem]:
        if self.vocab < 1:
            yield Problem("vocab", self.vocab, "a whole number, 1 or more")
        seen: set[str] = set()
        for i, (name, value) in enumerate(self.settings):
            if name in seen:
                yield Problem(f"settings[{i}]", name, "each setting once")
            seen.add(name)
            if not _is_setting(value):
                yield Problem(f"settings[{i}]", value, "a number, text, True, False, None, a tuple of such, or a "
                              "mapping as a tuple of pairs")  # fmt: skip


BOOKKEEPING = frozenset(
    ("architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "model_type", "vocab_size",
     "_name_or_path", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id",
     "quantization_config", "task_specific_params", "_attn_implementation", "attn_implementation")
)  # fmt: skip
"""Fields of a published config.json that are no part of a model's make, or that a study decides."""


def as_pairs(value: Any) -> Any:
    """A setting as it is declared: mappings as sorted tuples of pairs, lists as tuples."""
    if isinstance(value, Mapping):
        return tuple((name, as_pairs(each)) for name, each in sorted(value.items()))
    return tuple(as_pairs(each) for each in value) if isinstance(value, list | tuple) else value


def as_mapping(settings: Any) -> Any:
    """A setting as transformers takes it: tuples of pairs as mappings, other tuples as lists."""
    if not isinstance(settings, tuple):
        return settings
    if settings and all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) for p in settings):
        return {name: as_mapping(value) for name, value in settings}
    return [as_mapping(value) for value in settings]


def _is_setting(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_setting(each) for each in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _first_of_each(kinds: list[Any], layers: int) -> list[Any]:
    """The kinds of the first layers of a model, the last ones replaced by kinds that would else be left out."""
    first = list(kinds[:layers])
    left_out = [kind for kind in dict.fromkeys(kinds) if kind not in first]
    return [*first[: layers - len(left_out)], *left_out] if len(left_out) < layers else first


Student = Shape | TransformersConfig


def width_multiplier(student: Student) -> float:
    """Width over base width, by which `MuP` divides; 1 in the standard parametrisation."""
    if not isinstance(student, Shape) or student.parametrisation is None:
        return 1.0
    return student.width / student.parametrisation.base_width
