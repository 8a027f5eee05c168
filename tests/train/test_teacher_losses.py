"""Held-out losses of a teacher in a folder: against dense logits, and as an artifact of its students' study."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, Gemma2Config

from pdstudy.analysis.data.runs import load_runs
from pdstudy.analysis.report.teacher_section import teacher_table
from pdstudy.config.data import Slice, View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import KD, Pretrained
from pdstudy.core.identity import fingerprint
from pdstudy.core.progress import no_progress
from pdstudy.corpus import TokenCorpus, open_corpus
from pdstudy.evaluate.heldout_teacher import evaluate_teacher
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import WorkOrder, make_order
from pdstudy.models.distributed import open_ranks
from pdstudy.plan.builder import make_plan
from pdstudy.plan.record import make_record
from pdstudy.study.study_file import load_study
from pdstudy.train.training_job import never
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny
from tests.distill.teachers import make_teacher
from tests.train import ranks

TEST, VALIDATION = (Heldout(data=Slice(split=split, tokens=5 * 64)) for split in ("test", "validation"))


def test_losses_are_those_of_dense_logits(corpus: TokenCorpus, tmp_path: Path) -> None:
    """Of a teacher whose logits are soft-capped, and no product of hidden states and head."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=corpus.vocab + 7, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, initializer_range=0.3,
        final_logit_softcapping=4.0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path / "teacher")
    teacher, directory = Pretrained(path=str(tmp_path / "teacher")), tmp_path / "losses"
    evaluate_teacher(teacher, View(context=64), corpus, (TEST,), directory)
    (row,) = json.loads((directory / "result.json").read_text())["evals"]
    stream = torch.from_numpy(corpus.stream("test").tokens(0, 5 * 64 + 1))
    with torch.no_grad():
        logits = model(stream[:-1].view(5, 64)).logits[..., : corpus.vocab].double().flatten(0, 1)
    assert logits.abs().max() > 2, "or the cap would not be seen"
    assert row["loss"] == pytest.approx(cross_entropy(logits, stream[1:]).item(), rel=1e-6)
    assert row["accuracy"] == pytest.approx((logits.argmax(1) == stream[1:]).double().mean().item(), abs=1e-9)
    assert (row["eval"], row["split"], row["tokens_scored"]) == (fingerprint(TEST), "test", 320)

    stamp = (directory / "result.json").stat().st_mtime_ns
    evaluate_teacher(teacher, View(context=64), corpus, (TEST,), directory)
    assert (directory / "result.json").stat().st_mtime_ns == stamp
    evaluate_teacher(teacher, View(context=64), corpus, (VALIDATION, TEST), directory)
    result = json.loads((directory / "result.json").read_text())
    assert [each["split"] for each in result["evals"]] == ["test", "validation"]
    assert result["evals"][0] == row
    tied = sum(p.numel() for p in model.parameters())
    assert result["parameters"] == {"non_embedding": tied - 32 * config.vocab_size, "total": tied}


def evaluate_together(folder: Path, corpus: Path, directory: Path) -> None:
    with open_ranks(replicas=1, sharded=False) as mine:
        evaluate_teacher(
            Pretrained(path=str(folder)), View(context=64), open_corpus(corpus), (TEST,), directory, ranks=mine
        )


@pytest.mark.slow
def test_losses_of_two_ranks_are_those_of_one(corpus: TokenCorpus, tmp_path: Path) -> None:
    """Of five sequences, three are one rank's."""
    make_teacher(tmp_path / "teacher", corpus)
    for count in (1, 2):
        ranks.run(count, evaluate_together, tmp_path / "teacher", corpus.directory, tmp_path / str(count))
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in "12")
    assert one["parameters"] == two["parameters"]
    (first,), (second,) = one["evals"], two["evals"]
    assert first.keys() == second.keys()
    assert [first[name] for name in ("eval", "slice", "accuracy")] == [second[n] for n in ("eval", "slice", "accuracy")]
    for name in ("loss", "bits_per_byte", "recalibrated", "ece", "tokens_scored"):
        assert second[name] == pytest.approx(first[name], rel=1e-6), name


@pytest.mark.integration
def test_a_study_has_the_losses_of_its_teacher_once(tmp_path: Path) -> None:
    study = load_study(str(write_tiny(tmp_path, steps=4)), "mini")
    workspace = Workspace(tmp_path / "workspace")
    perform(
        make_order(make_plan(study, workspace), make_plan(study, workspace).corpora[0], workspace), no_progress, never
    )
    make_teacher(tmp_path / "teacher", open_corpus(workspace.corpus(study.base.corpus)), padding=0)
    objective = study.cells[-1].run.objective
    assert isinstance(objective, KD)
    kd = dataclasses.replace(objective, teacher=Pretrained(path=str(tmp_path / "teacher")), stored="live")
    study = dataclasses.replace(study, base=dataclasses.replace(study.base, objective=kd), grid=type(study.grid)((
        dataclasses.replace(study.grid.arms[0], changes=()),)), baseline={}, outputs=())  # fmt: skip
    plan = make_plan(study, workspace)
    assert not plan.problems
    assert [artifact.kind for artifact in plan.artifacts] == ["corpus", "evaluate", "student", "student"]
    order = make_order(plan, plan.artifacts[1], workspace)
    assert perform(WorkOrder.from_json(order.to_json()), no_progress, never) == "done"
    again = make_plan(study, workspace)
    assert [artifact.done for artifact in again.artifacts] == [True, True, False, False]
    runs = load_runs(workspace.root, make_record(again))
    assert runs["teacher_test_loss"].notna().all()
    assert runs["teacher_total"].nunique() == 1
    table = teacher_table(workspace.root, make_record(again))
    assert table is not None
    assert [len(table.rows), table.rows[0][1]] == [1, "done"]
    more = Heldout(data=Slice(split="test", tokens=256))
    wider = make_plan(dataclasses.replace(study, evaluations=(*study.evaluations, more)), workspace)
    assert [artifact.done for artifact in wider.artifacts[:2]] == [True, False]
    assert wider.artifacts[1].flops == pytest.approx(plan.artifacts[1].flops / 4), "only what is missing is priced"
