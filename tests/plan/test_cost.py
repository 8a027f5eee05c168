"""Prices of single things, and what a plan and a submission come to."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Heldout
from pdstudy.config.logits import Coverage
from pdstudy.config.model import Shape
from pdstudy.config.placement import Execution, Machine, resolve
from pdstudy.config.run import KD, Pretrained
from pdstudy.config.truncation import TopPK
from pdstudy.core.files import read_json
from pdstudy.plan.account import account, longest_chain, totals
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import (
    bytes_per_token,
    evaluated_tokens,
    folder_flops,
    steps_flops,
    teacher_parameters,
    training_flops,
)
from pdstudy.plan.store_bytes import DECODED_ENTRIES_PER_CORE, reading
from pdstudy.slurm.cost import stage_prices
from pdstudy.slurm.job import Job
from pdstudy.study.grid import axis
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.study.test_study import make_study

SHAPE = Shape(width=64, layers=3, heads=4, query_groups=2, ffn=160, vocab=1000, head_dim=32)


def write_model(
    folder: Path, shape: Shape, dtype: str, *, parts: int = 1, nested: bool = False, named: bool = True
) -> str:
    """A transformers folder with as many numbers as the shape has, of a type, in so many files."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    text = {
        "hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "head_dim": shape.head_dim, "vocab_size": shape.vocab, "tie_word_embeddings": shape.tied,
    }  # fmt: skip
    config = {"text_config": text} if nested else text
    (folder / "config.json").write_text(json.dumps(config | ({"dtype": dtype} if named else {})))
    total = shape.parameters().total
    for i in range(parts):
        numbers = total // parts + (total % parts if i == 0 else 0)
        weights = np.zeros((numbers,), np.float32 if dtype == "float32" else np.float16)
        save_file({"weights": weights}, folder / f"model-{i}.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", [{}, {"parts": 3}, {"nested": True}, {"named": False}])
def test_a_folder_is_priced_as_the_shape_that_it_has(
    tied: bool, dtype: str, how: dict[str, bool], tmp_path: Path
) -> None:
    """Whatever its weights are stored as, and whether its config says so. An embedding that is looked up costs nothing,
    attention costs by the context, as for a model trained here."""
    shape = dataclasses.replace(SHAPE, tied=tied)
    folder = write_model(tmp_path / "model", shape, dtype, **how)  # type: ignore[arg-type]
    for context in (512, 4096):
        declared = folder_flops(Pretrained(path=folder, shape=shape), context)
        assert declared == shape.forward_flops(context)
        assert folder_flops(Pretrained(path=folder), context) == pytest.approx(declared, rel=0.01)  # norms
    assert teacher_parameters(Pretrained(path=folder)) == shape.parameters().non_embedding


def test_a_damaged_folder_stops_no_plan(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", SHAPE, "float32")
    (tmp_path / "model" / "model-0.safetensors").write_bytes(b"no header")
    assert folder_flops(Pretrained(path=folder), 512) >= 0
    assert teacher_parameters(Pretrained(path=folder)) == 0


def test_a_declared_shape_is_held_against_the_folder(tmp_path: Path) -> None:
    teacher = Pretrained(path=write_model(tmp_path / "model", SHAPE, "float32"), shape=SHAPE)
    assert not list(teacher.check())
    other = dataclasses.replace(teacher, shape=dataclasses.replace(SHAPE, layers=4))
    assert [(p.field, p.found, p.allowed) for p in other.check()] == [
        ("shape.layers", 4, "the folder's num_hidden_layers, 3")
    ]


def test_bytes_of_a_stored_token() -> None:
    plain = Coverage(p=0.9, k=50)
    assert bytes_per_token(plain, 1000) == 24 + 50 * (4 + 2)
    assert bytes_per_token(plain, 65_536) == 24 + 50 * 6
    assert bytes_per_token(plain, 65_537) == 24 + 50 * 8, "larger ids take four bytes"
    assert bytes_per_token(plain, 30) == 24 + 30 * 6, "no more entries than there are"
    assert bytes_per_token(plain, 1000, entries=12.5) == 24 + 12.5 * 6
    assert bytes_per_token(dataclasses.replace(plain, taus=(2.0,), draws=4), 1000) == 28 + 54 * 6
    assert bytes_per_token(dataclasses.replace(plain, encoding="small"), 1000) == 14 + 50 * 3


def test_steps_cost_their_share() -> None:
    run = make_run()
    assert steps_flops(run, run.num_steps) == training_flops(run)
    assert steps_flops(run, 3) == pytest.approx(training_flops(run) * 3 / 10)


@dataclasses.dataclass(frozen=True)
class Step:
    key: str
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    done: bool = False
    seconds: float = 1.0


def test_the_longest_chain_goes_over_needs_and_over_ends_that_are_waited_for() -> None:
    steps = [
        Step("text", seconds=2), Step("teacher", ("text",), seconds=8, done=True),
        Step("logits", ("teacher",), seconds=3),
        Step("short", ("text",), seconds=1), Step("long", ("text",), ("short",), seconds=4),
    ]  # fmt: skip
    assert longest_chain(steps, lambda step: step.seconds) == 2 + 1 + 4
    assert longest_chain([*steps, Step("last", ("logits",), seconds=5)], lambda step: step.seconds) == 2 + 3 + 5
    assert longest_chain([], lambda step: step.seconds) == 0


def test_totals_are_those_of_what_is_to_make(tmp_path: Path) -> None:
    plan = make_plan(make_study(), Workspace(tmp_path))
    found = totals(plan)
    assert (found["items"], found["done"]) == (len(plan.artifacts), 0)
    assert found["flops"] == found["flops_todo"] == sum(a.flops for a in plan.artifacts)
    half = dataclasses.replace(
        plan, artifacts=tuple(dataclasses.replace(a, done=a.kind == "student") for a in plan.artifacts)
    )
    rest = totals(half)
    assert rest["flops"] == found["flops"]
    assert rest["flops_todo"] == sum(a.flops for a in plan.artifacts if a.kind != "student")
    assert rest["device_hours_todo"] == pytest.approx(rest["flops_todo"] / plan.rate / 3600)
    assert rest["bytes_todo"] == sum(a.bytes for a in plan.artifacts if a.kind != "student")
    assert set(account(plan)) == {
        "flops", "charged", "groups", "teachers", "runs", "tasks_not_priced", "store_bytes", "stored", "reading"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spare_bytes", "spare_cores", "fits"), [(1.01, 1, True), (0.99, 1, False), (1.01, -1, False), (0.99, -1, False)]
)
def test_a_store_fits_a_node_that_reads_and_decodes_it(
    spare_bytes: float, spare_cores: int, fits: bool, tmp_path: Path
) -> None:
    """Both are needed: bytes per second, and cores that decode them, for all devices of the node."""
    kd = KD(teacher=make_teacher(), truncation=TopPK(p=0.9, k=50))
    machine = Machine(name="node", flops_per_second=1e15, devices=8)
    study = make_study(base=make_run(objective=kd), grid=axis("lr", (1e-3,), field="optimiser.lr"), baseline={},
                       machine=machine)  # fmt: skip
    student = study.base.student
    assert isinstance(student, Shape)
    tokens = 8 * 1e15 / (3 * student.forward_flops(64))
    rate, cores = tokens * (24 + 50 * 6), tokens * 50 / DECODED_ENTRIES_PER_CORE
    node = dataclasses.replace(machine, read_bytes_per_second=spare_bytes * rate, cores=math.ceil(cores) + spare_cores)
    found = reading(make_plan(dataclasses.replace(study, machine=node), Workspace(tmp_path)))
    assert found is not None
    assert found.bytes_per_second == pytest.approx(rate)
    assert found.cores == pytest.approx(cores)
    assert found.fits is fits


@pytest.mark.parametrize("pack", [1, 4])
def test_packed_runs_share_their_nodes(pack: int) -> None:
    execution = resolve([Execution(gpus=1, pack=pack, minutes=30, time_limits=1)], "student", 0)
    jobs = [Job(f"{i}", "student", execution, flops=3600.0 * hours) for i, hours in enumerate((1, 1, 2, 4))]
    (price,) = stage_prices([*jobs, Job("done", "student", execution, flops=1e9, done=True)], rate=1.0)
    assert (price.units, price.device_hours, price.longest_hours) == (4, 8, 4)
    assert price.node_hours == 8 / pack
    assert (price.over_limit, price.over_budget) == (4, 2), "half an hour each; one job more: up to an hour"


def test_ranks_and_nodes_are_counted() -> None:
    execution = resolve([Execution(stage="student", nodes=2, gpus=4)], "student", 0)
    (price,) = stage_prices([Job("a", "student", execution, flops=8 * 3600.0)], rate=1.0)
    assert (price.device_hours, price.longest_hours, price.node_hours) == (8, 1, 2)


def test_a_teacher_that_diverged_serves_nobody(tmp_path: Path) -> None:
    """Its plan is not done, and neither a capture nor a live student takes what it left."""
    from pdstudy.launch.work_order import make_order

    workspace = Workspace(tmp_path)
    base, rates = make_run(objective=KD(teacher=make_teacher())), axis("lr", (1e-3,), field="optimiser.lr")
    study = make_study(base=base, grid=rates, baseline={})
    corpus = workspace.corpus(study.base.corpus)
    corpus.mkdir(parents=True)
    (corpus / "manifest.json").write_text(json.dumps({"splits": {s: {"tokens": 10**6} for s in ("train", "test")}}))
    plan = make_plan(study, workspace)
    (teacher,) = plan.runs_as("teacher")
    directory = teacher.directory(workspace)
    directory.create(teacher.run)
    directory.model.mkdir()
    capture = make_order(plan, plan.stores[0], workspace).work
    assert "is not finished" in str(capture.missing_input())
    for state, lacking in (("diverged", f"its teacher {directory.path} is diverged"), ("done", None)):
        result = {"state": state, "evals": [], "seconds": {"train": 1.0}, "flops": {"student": 1.0}}
        (directory.path / "result.json").write_text(json.dumps(result))
        assert capture.missing_input() == lacking
        again = make_plan(dataclasses.replace(study, evaluations=()), workspace).runs_as("teacher")[0]
        assert (again.done, again.state) == (state == "done", state)
    assert read_json(directory.path / "config.json")


@pytest.mark.parametrize("every", [None, 100, 640, 700, 1279, 1280, 1281, 3199, 3200, 3201, 6399, 6400, 6401])
def test_evaluations_are_priced_as_often_as_they_are_made(every: int | None) -> None:
    """After each step that comes to a multiple or passes one, and at the end: once after the last of ten steps."""
    run = make_run()
    passed = [step for step in range(1, 10) if every and step * 640 // every > (step - 1) * 640 // every]
    evaluation = Heldout(data=Slice(tokens=64, split="test"), every_tokens=every)
    assert evaluated_tokens(evaluation, run) == 64 * (len(passed) + 1)


def test_a_multiple_at_the_end_of_a_run_is_its_end() -> None:
    halves = Heldout(data=Slice(tokens=64, split="test"), every_tokens=3200)
    assert evaluated_tokens(halves, make_run()) == 2 * 64
