"""The identity of a model in a folder, and what a workspace has of it under the identity of before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy import KD, LM, Capture, Run, Slice, Start, Study, TopPK, axis
from pdstudy.config.model_folder import earlier_identity, model_identity
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Pretrained
from pdstudy.core.files import write_json
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.core.origin import spot_of
from pdstudy.plan.builder import make_plan
from pdstudy.search.search_file import load_search
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.core.tiny import leave_finished, write_tiny
from tests.search.test_local import SEARCH

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


def write_folder(folder: Path, **others: str) -> Path:
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    for name, text in others.items():
        (folder / name.replace("_json", ".json")).write_text(text)
    return folder


def old(teacher: Pretrained) -> Pretrained:
    return dataclasses.replace(teacher, known_as=earlier_identity(teacher.path))


def make_study(teacher: Pretrained) -> Study:
    grid = axis("loss", {"LM": LM(), "KD": KD(teacher=teacher)}, field="objective")
    return Study(name="of-folder", base=make_run(), grid=grid, seeds=(0,))


def states(study: Study, workspace: Workspace) -> dict[str, str]:
    plan = make_plan(study, workspace)
    return {name: a.state for a in plan.artifacts for name in a.cells}


def test_a_second_download_is_the_same_model(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "a")
    second = write_folder(tmp_path / "b", README="two", generation_config_json="{}")
    (second / ".cache").mkdir()
    (second / ".cache" / "of-the-hub").write_text("now")
    (second / "pytorch_model.bin").write_bytes(b"the same once more")
    (second / "consolidated.safetensors").write_bytes(b"and again")
    assert fingerprint(Pretrained(path=str(first))) == fingerprint(Pretrained(path=str(second)))
    assert model_identity(str(first)) == earlier_identity(str(first)), "nothing but what counts: its old identity"
    for name in CONTENT:
        (second / name).write_bytes(CONTENT[name] + b" ")
        assert model_identity(str(first)) != model_identity(str(second)), name
        (second / name).write_bytes(CONTENT[name])


def test_shards_are_those_of_the_index(tmp_path: Path) -> None:
    folders = [write_folder(tmp_path / name) for name in "ab"]
    for folder in folders:
        (folder / "model.safetensors").unlink()
        for part in ("model-1.safetensors", "model-2.safetensors"):
            (folder / part).write_bytes(part.encode())
    whole = model_identity(str(folders[0]))
    write_json(folders[1] / "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors",
                                                                             "b": "model-2.safetensors"}})  # fmt: skip
    (folders[1] / "original.safetensors").write_bytes(b"other")
    assert model_identity(str(folders[1])) == whole
    (folders[1] / "model-2.safetensors").write_bytes(b"changed")
    assert model_identity(str(folders[1])) != whole


def test_what_a_workspace_has_from_before_is_found(tmp_path: Path) -> None:
    """A new one has the new identity; an old one that found nothing of the folder, too."""
    teacher = Pretrained(path=str(write_folder(tmp_path / "teacher", generation_config_json="{}")))
    study = make_study(teacher)
    workspace = Workspace(tmp_path / "old")
    before = [normal_form(cell.run) for cell in make_study(old(teacher)).cells]
    assert fingerprint(before[1]) != fingerprint(normal_form(study.cells[1].run))
    leave_finished(workspace, before[0])
    assert states(study, workspace) == {"loss=LM,seed=0": "done", "loss=KD,seed=0": "new"}
    assert make_plan(study, workspace).study == study
    leave_finished(workspace, before[1])
    assert states(study, workspace) == {"loss=LM,seed=0": "done", "loss=KD,seed=0": "done"}
    made = make_plan(study, workspace).runs[-1].run
    assert fingerprint(decode(encode(made))) == fingerprint(before[1]), "workers get it as the plan has it"
    # Whoever has begun anew goes on so.
    leave_finished(workspace, normal_form(dataclasses.replace(study.cells[1].run)))
    assert make_plan(study, workspace).study == study


def test_the_line_of_a_model_stays_known(tmp_path: Path) -> None:
    teacher = Pretrained(path=str(write_folder(tmp_path / "teacher", README="-")))
    line = spot_of(teacher)
    study = make_study(teacher)
    workspace = Workspace(tmp_path / "workspace")
    leave_finished(workspace, normal_form(make_study(old(teacher)).cells[1].run))
    objective = make_plan(study, workspace).study.cells[1].run.objective
    assert isinstance(objective, KD)
    assert objective.teacher == old(teacher)
    assert spot_of(objective.teacher) == line


@pytest.mark.parametrize("of", ["store", "capture", "start"])
def test_stores_and_starts_are_found_too(of: str, tmp_path: Path) -> None:
    teacher = Pretrained(path=str(write_folder(tmp_path / "teacher", README="-")))
    workspace = Workspace(tmp_path / "workspace")

    def declared(model: Pretrained) -> Study:
        run: Run = make_run(start=Start(model=model)) if of == "start" else make_run()
        capture = Capture(teacher=model, corpus=run.corpus, view=run.view, data=Slice(tokens=640), truncation=TopPK())
        captures = {"own": capture} if of == "capture" else {}
        return dataclasses.replace(make_study(model), base=run, captures=captures)

    before = declared(old(teacher))
    if of == "start":
        leave_finished(workspace, normal_form(before.cells[0].run))
    elif of == "capture":
        workspace.stores(before.captures["own"].spec).mkdir(parents=True)
    else:
        spec = make_plan(before, workspace).stores[0].need.spec
        workspace.stores(spec).mkdir(parents=True)
    assert make_plan(declared(teacher), workspace).study == before


def test_a_search_goes_on_under_its_name_of_before(tmp_path: Path) -> None:
    teacher = write_folder(tmp_path / "teacher", README="-")
    file = write_tiny(tmp_path)
    text = file.read_text().replace("teacher=run(24, 20 * STEP, 20)", f"teacher=Pretrained(path={str(teacher)!r})")
    file.write_text(text + SEARCH)
    workspace = Workspace(tmp_path / "workspace")
    new = load_search(str(file), None, workspace)
    objective = new.base.objective
    assert isinstance(objective, KD)
    assert isinstance(objective.teacher, Pretrained)
    renamed = dataclasses.replace(objective, teacher=old(objective.teacher))
    before = dataclasses.replace(new, base=dataclasses.replace(new.base, objective=renamed))
    (workspace.root / "searches" / before.identity).mkdir(parents=True)
    assert load_search(str(file), None, workspace).identity == before.identity != new.identity
