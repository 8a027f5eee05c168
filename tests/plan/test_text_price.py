"""The plan says for how many hours texts will be tokenised."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy.config.data import BPE
from pdstudy.plan import text_price as module
from pdstudy.plan.builder import make_plan
from pdstudy.plan.study_plan import checked_plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny


def test_texts_have_a_price_until_they_are_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(str(write_tiny(tmp_path)), None)
    workspace = Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    size = sum(file.stat().st_size for file in (tmp_path / "texts").iterdir())
    expected = size / module.READ_BYTES + size / (module.WORD_BYTES * study.machine.cores)
    assert isinstance(study.base.corpus.tokenizer, BPE)
    assert module.text_price(plan) == pytest.approx((size, expected / 3600))
    cores = dataclasses.replace(study, machine=dataclasses.replace(study.machine, cores=64))
    faster = module.text_price(make_plan(cores, workspace))
    assert faster is not None
    assert faster[1] == pytest.approx((size / module.READ_BYTES + size / (64 * module.WORD_BYTES)) / 3600)
    from pdstudy.corpus import build

    build(study.base.corpus, workspace.corpus(study.base.corpus))
    assert module.text_price(checked_plan(str(tmp_path / "tiny.py"), None, workspace)) is None
