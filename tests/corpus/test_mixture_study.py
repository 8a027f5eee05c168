"""A study of mixtures, from its file to its results: each source is tokenised once, and has a loss of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pdstudy.analysis.data.runs import arm_summary, load_runs
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.builder import make_plan
from pdstudy.plan.record import make_record
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

STUDY = """
from pdstudy import *

def study(scale="mini"):
    digits, letters = (LocalFiles(paths=(f"{folder}/{{name}}.jsonl",)) for name in ("digits", "letters"))
    def mixed(share):
        mixture = Mixture((digits, share), (letters, 1 - share))
        return Corpus(sources=(mixture,), tokenizer=BPE(vocab=257), validation=0.2, test=0.2)
    base = Run(
        student=Shape(width=16, layers=1, heads=2, query_groups=1, ffn=32, vocab=257),
        corpus=mixed(0.5), data=Slice(tokens=1024), view=View(context=32),
        optimiser=AdamW(lr=1e-2), schedule=Cosine(warmup_tokens=256), tokens_per_step=256, steps=4,
    )
    part = Slice(split="test", tokens=512)
    return Study(
        name="mixed", base=base, seeds=(0,),
        grid=axis("digits", {{"20%": mixed(0.2), "80%": mixed(0.8)}}, field="corpus"),
        evaluations=(
            Heldout(data=part),
            Heldout(data=part, corpus=base.corpus.parts[0], name="digits"),
            Heldout(data=part, corpus=base.corpus.parts[1], name="letters"),
        ),
    )
"""


@pytest.mark.integration
def test_in_domain_and_out_of_domain_losses_are_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, alphabet in (("digits", "0123456789"), ("letters", "abcdefghij")):
        texts = ["".join(rng.choice(list(alphabet), 100)) for _ in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "mixed.py").write_text(STUDY.format(folder=tmp_path))
    study, workspace = load_study(str(tmp_path / "mixed.py"), None), Workspace(tmp_path / "workspace")
    plan = make_plan(study, workspace)
    assert not plan.problems
    # Two sources, the BPE's corpus, and an order for each mixture; every one behind what it needs.
    assert [a.label for a in plan.corpora] == [
        "LocalFiles+LocalFiles", "LocalFiles", "LocalFiles", "20% LocalFiles+80% LocalFiles",
        "80% LocalFiles+20% LocalFiles",
    ]  # fmt: skip
    for artifact in plan.artifacts:
        assert perform(make_order(plan, artifact, workspace), lambda what, share: None, lambda: False) == "done"
    assert all(a.done for a in make_plan(study, workspace).artifacts)
    runs = load_runs(workspace.root, json.loads(json.dumps(make_record(plan))))
    assert runs[["test_loss", "digits_test_loss", "letters_test_loss"]].notna().all(axis=None)
    few, many = (runs[runs["digits"] == share].iloc[0] for share in ("20%", "80%"))
    assert many["digits_test_loss"] < few["digits_test_loss"]
    assert many["letters_test_loss"] > few["letters_test_loss"]
    assert {"test loss", "digits test loss", "letters test loss"} <= set(arm_summary(runs).columns)
