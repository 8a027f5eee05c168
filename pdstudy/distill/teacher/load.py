"""Loading a teacher from a transformers folder, checked against the corpus: no remote code, no pickles."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.teacher.peers import LayOut
from pdstudy.distill.teacher.weights import load_causal_lm


def place_whole(model: PreTrainedModel) -> None:
    """Put a model on the first GPU where there is one."""
    model.to("cuda" if torch.cuda.is_available() else "cpu")


def load_teacher(
    folder: Path, corpus: TokenCorpus, context: int, dtype: torch.dtype, lay_out: LayOut = place_whole
) -> PreTrainedModel:
    """Load the causal LM in `folder`, in evaluation mode, and put it where `lay_out` says.

    The host reads weights that are stored as `dtype` by mapping their files, so that several processes share them.
    Raises `ConfigError` where its tokenizer or vocabulary cannot be the corpus's, or its context is too short.
    """
    _check_tokenizer(folder, corpus)
    model = load_causal_lm(folder, dtype=dtype)
    rows = model.get_output_embeddings().weight.shape[0]
    if rows < corpus.vocab:
        raise ConfigError(
            f"the teacher {folder} has a vocabulary of {rows}, the corpus's tokenizer {corpus.vocab}; use a corpus "
            f"tokenized with the teacher's tokenizer: PretrainedTokenizer(path={str(folder)!r})"
        )
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or context
    if longest < context:
        raise ConfigError(f"the teacher {folder} reads {longest} tokens at most, the view has {context}; shorten it")
    lay_out(model.eval().requires_grad_(False))
    return model


def _check_tokenizer(folder: Path, corpus: TokenCorpus) -> None:
    mine, theirs = corpus.tokenizer_dir / "tokenizer.json", folder / "tokenizer.json"
    if (
        theirs.exists()
        and file_sha256(theirs) != corpus.tokenizer_hash
        and _tokenizer_content(mine) != _tokenizer_content(theirs)
    ):
        raise ConfigError(
            f"the teacher {folder} has another tokenizer than the corpus; tokenize the corpus with the teacher's: "
            f"PretrainedTokenizer(path={str(folder)!r})"
        )


def _tokenizer_content(path: Path) -> str:
    """A tokenizer's behaviour as text, independent of the file's layout and of padding and truncation."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str())
