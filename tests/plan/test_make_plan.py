"""Plans: sharing, prices, what exists, and how fast and how light they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pdstudy import BPE, KD, LM, AdamW, Corpus, LocalFiles, Shape, Slice, Study, TopPK, axis
from pdstudy.config.logits import Coverage, spec_of, union
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Pretrained, Run
from pdstudy.core.files import write_json
from pdstudy.core.format import si
from pdstudy.core.identity import encode
from pdstudy.plan.artifact import StoreArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.store_needs import StoreNeeds
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import holds
from tests.core.test_normal import make_run, make_teacher
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study

ROOT = Path(__file__).parents[2]


def test_shared_artifacts_appear_once(tmp_path: Path) -> None:
    kd = KD(teacher=make_teacher())
    grid = axis("k", {str(k): TopPK(p=0.9, k=k) for k in (5, 20)}, field="objective.truncation")
    study = make_study(base=make_run(objective=kd), grid=grid, baseline={})
    plan = make_plan(study, Workspace(tmp_path))
    assert [i.kind for i in plan.artifacts] == [
        "corpus",
        "teacher",
        "logits",
        "student",
        "student",
        "student",
        "student",
    ]
    store = plan.artifacts[2]
    assert isinstance(store, StoreArtifact)
    assert plan.stores == (store,)
    assert store.need.coverage == Coverage(p=0.9, k=20)
    assert store.needs == (plan.artifacts[0].key, plan.artifacts[1].key)
    assert all(store.key in s.needs for s in plan.artifacts[3:])


def test_one_run_under_two_labels_is_one_artifact(tmp_path: Path) -> None:
    losses = {"LM": LM(), "KD at alpha 0": KD(teacher=make_teacher(), alpha=0)}
    plan = make_plan(make_study(grid=axis("loss", losses, field="objective")), Workspace(tmp_path))
    students = plan.runs_as("student")
    assert len(students) == 2
    assert students[0].cells == ("loss=LM,seed=0", "loss=KD at alpha 0,seed=0")
    assert "teacher" not in {i.kind for i in plan.artifacts}


def test_flops_are_the_shapes(tmp_path: Path) -> None:
    run = make_run()
    plan = make_plan(make_study(grid=axis("loss", {"LM": LM()}, field="objective"), seeds=(0,)), Workspace(tmp_path))
    student = plan.artifacts[1]
    assert isinstance(run.student, Shape)
    forward = run.student.forward_flops(64)
    assert student.flops == 3 * forward * 6400 + forward * 640


def test_a_teacher_that_has_read_its_students_text_is_noted_once(tmp_path: Path) -> None:
    """The control of whether a gain is extra data; another slice is another note."""
    teacher = make_run(tokens=640, data=Slice(start=6400 - 640, tokens=640))
    kd = make_run(objective=KD(teacher=teacher))
    grid = axis("alpha", {"a": 0.5, "b": 0.9}, field="objective.alpha") * axis(
        "data", {"seen": Slice(tokens=6400), "other": Slice(start=6400, tokens=6400)}
    )
    plan = make_plan(Study(name="seen", base=kd, grid=grid), Workspace(tmp_path))
    noted = [w for w in plan.warnings if "the teacher's slice" in w]
    assert not plan.problems
    assert len(noted) == 1
    assert "holds 640 of the 6,400 tokens that it gives logits for" in noted[0]


def test_runs_that_repeat_their_text_are_told_in_one_line(tmp_path: Path) -> None:
    """Of many such runs only the first twenty used to be named, a line each."""
    base = make_run(data=Slice(tokens=2560), optimiser=AdamW(lr=1e-3))
    study = make_study(base=base, grid=axis("lr", [1e-3 * i for i in range(1, 31)], field="optimiser.lr"), baseline={})
    (warning,) = (w for w in make_plan(study, Workspace(tmp_path)).warnings if "slice" in w)
    assert warning.startswith("60 runs go through a slice of 2,560 tokens up to 2.50 times: lr=0.03,seed=")


def test_a_finished_run_is_found_and_the_nearest_is_explained(tmp_path: Path) -> None:
    from pdstudy.core.identity import fingerprint
    from pdstudy.plan.explain import explain

    workspace = Workspace(tmp_path)
    study = make_study(grid=axis("loss", {"LM": LM()}, field="objective"), seeds=(0, 1))
    first = study.cells[0].run
    directory = workspace.run(first)
    directory.create(first)
    evals = [{"eval": fingerprint(e), "split": "test", "loss": 3.0} for e in study.evaluations]
    result = {"state": "done", "evals": evals, "seconds": {"train": 2.0}, "flops": {"student": 8e9}}
    (directory.path / "result.json").write_text(json.dumps(result))
    plan = make_plan(study, workspace)
    assert [i.done for i in plan.artifacts if i.kind == "student"] == [True, False]
    assert plan.rate == 4e9
    assert explain(workspace, plan.runs_as("student")[1]) == [("seed", 1, 0)]
    # Another evaluation wanted: the run is there, its evaluation is not.
    (directory.path / "result.json").write_text(json.dumps(result | {"evals": []}))
    again = make_plan(study, workspace).runs_as("student")
    assert (again[0].done, again[0].state) == (False, "evaluate")
    assert again[0].flops < again[1].flops / 10


def test_a_store_with_more_serves_less(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    kd = KD(teacher=make_teacher(), truncation=TopPK(p=0.9, k=7))
    study = make_study(grid=axis("loss", {"KD": kd}, field="objective"), baseline={})
    need = make_plan(study, workspace).stores[0].need
    folder = workspace.store(need.spec, Coverage(p=0.95, k=50))
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"coverage": encode(Coverage(p=0.95, k=50))}))
    (folder / "shard-000000-000060.json").write_text("{}")
    store = make_plan(study, workspace).stores[0]
    assert (store.done, store.need.coverage.k) == (False, 50)
    (folder / "shard-000060-000100.json").write_text("{}")
    assert make_plan(study, workspace).stores[0].done


def test_of_two_stores_the_one_that_holds_all_is_used(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    kd = KD(teacher=make_teacher(), truncation=TopPK(p=0.9, k=7))
    study = make_study(grid=axis("loss", {"KD": kd}, field="objective"), baseline={})
    need = make_plan(study, workspace).stores[0].need
    for coverage, shard in ((Coverage(p=0.9, k=7), "000000-000010"), (Coverage(p=0.95, k=50), "000000-000100")):
        folder = workspace.store(need.spec, coverage)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"coverage": encode(coverage)}))
        (folder / f"shard-{shard}.json").write_text("{}")
    store = make_plan(study, workspace).stores[0]
    assert (store.done, store.need.coverage.k) == (True, 50)


def test_every_cell_is_held_against_a_corpus_that_is_there(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    grid = axis("data", {"short": 6400, "long": 64000, "longer": 128000}, field="data.tokens")
    study = make_study(grid=grid, baseline={})
    manifest = workspace.corpus(study.base.corpus) / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"splits": {s: {"tokens": 10_000} for s in ("train", "validation", "test")}}))
    found = [p.found for p in make_plan(study, workspace).problems]
    assert found == ["[0, 64,000)", "[0, 128,000)"]


def test_a_run_of_text_that_was_moved_is_known_and_hinders_no_explanation(tmp_path: Path) -> None:
    from pdstudy.plan.explain import explain

    def made(folder: str) -> Run:
        texts = tmp_path / folder
        texts.mkdir(exist_ok=True)
        corpus = Corpus(sources=(LocalFiles(paths=(str(texts / "*.txt"),)),), tokenizer=BPE(vocab=512))
        return make_run(corpus=corpus)

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").write_text("text")
    workspace, run = Workspace(tmp_path / "workspace"), made("old")
    workspace.run(run).create(run)
    (tmp_path / "old").rename(tmp_path / "new")
    moved = made("new")
    assert workspace.run(moved).path == workspace.run(run).path
    workspace.run(moved).create(moved)
    plan = make_plan(make_study(base=moved, grid=axis("lr", (1e-3,), field="optimiser.lr"), baseline={}), workspace)
    assert explain(workspace, plan.runs[0]) == [("optimiser.lr", 0.001, 0.004)]


@pytest.mark.parametrize(
    ("shards", "held"),
    [((), False), (("0-4",), False), (("0-4", "4-9"), True), (("0-4", "5-9"), False), (("0-12",), True)],
)
def test_holds(tmp_path: Path, shards: tuple[str, ...], held: bool) -> None:
    for shard in shards:
        (tmp_path / f"shard-{shard}.json").write_text("{}")
    assert holds(tmp_path, range(1, 9)) is held


def test_coverage_is_one_comparison() -> None:
    store = Coverage(p=0.95, k=50)
    assert store.admits(TopPK(p=0.95, k=50))
    assert store.admits(TopPK(p=0.5, k=1))
    assert not store.admits(TopPK(p=0.96, k=50))
    assert not store.admits(TopPK(p=0.5, k=51))
    assert not store.admits(TopPK(p=0.5, k=None))
    assert Coverage(p=0.95, k=None).admits(TopPK(p=0.9, k=None))
    assert union([TopPK(p=0.5, k=100), TopPK(p=0.9, k=10)]) == Coverage(p=0.9, k=100)
    assert union([TopPK(p=0.5, k=None), TopPK(p=0.9, k=10)]) == Coverage(p=0.9, k=None)


@pytest.mark.integration
def test_ten_thousand_cells_within_five_seconds(tmp_path: Path) -> None:
    kd = KD(teacher=make_teacher())
    grid = axis("lr", [1e-3 * (1 + i / 100) for i in range(100)], field="optimiser.lr") * axis(
        "alpha", [i / 25 for i in range(25)], field="objective.alpha"
    )
    study = make_study(base=make_run(objective=kd), grid=grid, seeds=(0, 1, 2, 3), baseline={})
    begun = time.process_time()
    plan = make_plan(study, Workspace(tmp_path))
    took = time.process_time() - begun  # what this process used: other work on the machine is not the plan's
    assert len(study.cells) == 10_000
    assert len(plan.artifacts) == 3 + 10_000
    assert took < 5, f"{took:.1f} s"


@pytest.mark.integration
def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pdstudy.cli.main import main\n"
        "try: main(['plan', 'studies/quickstart.py', '--scale', 'offline', '--explain'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'optuna', 'tokenizers', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_identity_of_a_folder_teacher_is_its_content(tmp_path: Path) -> None:
    from pdstudy.core.identity import fingerprint

    keys = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        keys.append(fingerprint(normal_form(make_run(objective=KD(teacher=Pretrained(path=str(folder)))))))
    assert keys[0] == keys[1]


def test_numbers_for_people() -> None:
    assert [si(n) for n in (0, 999, 1000, 12_345_678, 4.3e12)] == ["0", "999", "1k", "12.3M", "4.3T"]


def test_a_run_names_its_folder(tmp_path: Path) -> None:
    run = make_run()
    directory = Workspace(tmp_path).run(run)
    directory.create(run)
    assert isinstance(directory.config(), Run)
    assert directory.config() == normal_form(run)


@pytest.mark.parametrize(
    ("finished", "rate"),
    [
        ([(2.0, 1)], 4e9),
        ([(2.0, 1), (4.0, 1)], 3e9),
        ([(2.0, 1), (8.0, 1), (4.0, 1)], 2e9),
        ([(2.0, 4)], 1e9),  # four devices: each of them made a quarter
        ([(1.0, 1), (2.0, 1), (4.0, 1), (8.0, 1)], 3e9),
    ],
)
def test_the_rate_is_the_median_of_a_device_s(finished: list[tuple[float, int]], rate: float, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    study = make_study(grid=axis("loss", {"LM": LM()}, field="objective"), seeds=(0, 1, 2, 3, 4))
    for cell, (seconds, ranks) in zip(study.cells, finished, strict=False):
        leave_finished(workspace, cell.run, seconds=seconds, ranks=ranks)
    plan = make_plan(study, workspace)
    assert plan.rate == rate
    assert plan.rate_source.startswith(f"median of {len(finished)} finished runs")


def test_a_store_must_serve_all_runs_that_read_it(tmp_path: Path) -> None:
    """One of k = 7 is there: it has what a cut at 5 needs, and not what one at 20 needs."""
    workspace, spec, part = Workspace(tmp_path), spec_of(make_run(objective=KD(teacher=make_teacher()))), range(10)
    assert spec is not None
    small, wide = Coverage(p=0.9, k=5), Coverage(p=0.9, k=20)
    store = workspace.store(spec, Coverage(p=0.9, k=7))
    write_json(store / "manifest.json", {"coverage": encode(Coverage(p=0.9, k=7))})
    write_json(store / "shard-0-10.json", {})
    for wanted, expected, done in (((small,), 7, True), ((small, wide), 20, False)):
        needs = StoreNeeds(workspace)
        for coverage in wanted:
            assert needs.add(spec, coverage, part) is None
        ((need, artifact),) = needs.resolve()[0].items()
        assert (need.coverage, artifact.done) == (Coverage(p=0.9, k=expected), done)
