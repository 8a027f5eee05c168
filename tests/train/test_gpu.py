"""What only a CUDA device can show."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from pdstudy.config.data import View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.files import read_jsonl
from pdstudy.corpus import TokenCorpus
from pdstudy.workspace.run_dir import RunDir
from tests.train.one_run import train_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs flash-attn")
@pytest.mark.parametrize("documents", ["cross", "respect"])
def test_flash_attention_agrees_with_torchs_own(
    documents: str, small_run: Run, corpus: TokenCorpus, heldout: tuple[Heldout, ...], tmp_path: Path
) -> None:
    run = dataclasses.replace(small_run, precision="bfloat16", view=View(context=64, documents=documents))
    losses = []
    for attention in ("sdpa", "flash_attention_2"):
        directory = RunDir(tmp_path / attention)
        placement = Placement(attention=attention)
        train_run(run, directory, corpus=corpus, store=None, evaluations=heldout, placement=placement)
        losses.append([row["loss"] for row in read_jsonl(directory.metrics_file)])
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_a_step_does_not_wait_for_the_device(small_run: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    """Rows, saves and evaluations read from the device; between them nothing may."""
    run = dataclasses.replace(small_run, precision="bfloat16", steps=1000)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as seen:
            train_run(run, RunDir(tmp_path / "run"), corpus=corpus, store=None, evaluations=())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in seen if "synchronizing" in str(w.message)]) < 2 * 250 + 50
