"""What an exported folder says of itself to the library that loads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pdstudy.config.model import Shape
from pdstudy.models.build_model import build_model
from pdstudy.models.export import write_model


@pytest.mark.parametrize(("bos", "expected"), [(None, 7), (3, 3)])
def test_context_ends_and_cache_are_those_of_the_run(bos: int | None, expected: int, tmp_path: Path) -> None:
    """Training has no cache and no end of its own; generation has both."""
    shape = Shape(width=16, layers=1, heads=2, query_groups=1, ffn=16, vocab=90)
    model = build_model(shape, seed=0)
    model.config.use_cache = False  # as training wants it
    write_model(model.config, model.state_dict(), tmp_path, vocab=80, bos=bos, eos=7, context=48)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["max_position_embeddings"], written["use_cache"], written["vocab_size"]) == (48, True, 80)
    assert (written["eos_token_id"], written["bos_token_id"]) == (7, expected)
    assert model.config.use_cache is False  # the run's own is left as it is
