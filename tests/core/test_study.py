"""Declaring studies: grids, labels, problems with their lines, and study files with errors in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy import KD, LM, Compare, Curves, Heldout, Slice, Study, arm, axis
from pdstudy.loading import load_study
from pdstudy.normal import ConfigError
from tests.core.test_normal import make_run, make_teacher


def make_study(**changes: object) -> Study:
    fields: dict[str, object] = {
        "name": "demo",
        "base": make_run(),
        "grid": axis("loss", {"LM": LM(), "KD": KD(teacher=make_teacher())}, field="objective"),
        "seeds": (0, 1),
        "baseline": {"loss": "LM"},
        "evaluations": (Heldout(data=Slice(split="test", tokens=640)),),
    }
    return Study(**(fields | changes))  # type: ignore[arg-type]


def test_product_zip_sum_where_and_set() -> None:
    sizes = axis("lr", (1e-3, 2e-3), field="optimiser.lr")
    alphas = axis("wd", {"none": 0.0, "some": 0.1}, field="optimiser.weight_decay")
    assert [dict(a.labels) for a in (sizes * alphas).arms] == [
        {"lr": "0.001", "wd": "none"}, {"lr": "0.001", "wd": "some"}, {"lr": "0.002", "wd": "none"},
        {"lr": "0.002", "wd": "some"},
    ]  # fmt: skip
    assert [dict(a.labels) for a in sizes.zip(alphas).arms] == [
        {"lr": "0.001", "wd": "none"},
        {"lr": "0.002", "wd": "some"},
    ]
    assert len((sizes * alphas).where(lambda a: not (a["lr"] == "0.001" and a["wd"] == "some")).arms) == 3
    more = sizes + arm("0.05", {"optimiser.lr": 5e-2, "optimiser.clip": 2.0}, axis="lr")
    study = make_study(grid=more.set("optimiser.eps", lambda a: 1e-6 if a["lr"] == "0.05" else 1e-8), baseline={})
    assert study.problems() == []
    by_label = {c.labels["lr"]: c.run.optimiser for c in study.cells}
    assert by_label["0.05"].clip == 2.0
    assert by_label["0.05"].eps == 1e-6
    assert by_label["0.001"].eps == 1e-8


def test_zip_of_unequal_axes_raises() -> None:
    with pytest.raises(ValueError, match="2 and 3 levels"):
        axis("a", (1, 2)).zip(axis("b", (1, 2, 3)))


def test_cells_are_named_and_seeded() -> None:
    names = [c.name for c in make_study().cells]
    assert names == ["loss=LM,seed=0", "loss=LM,seed=1", "loss=KD,seed=0", "loss=KD,seed=1"]
    assert [c.run.seed for c in make_study().cells] == [0, 1, 0, 1]


def test_every_problem_at_once_each_with_its_line() -> None:
    bad_axis = axis("tau", (0.5, -1.0), field="objective.temperature.tau")
    study = make_study(
        grid=axis("loss", {"KD": KD(teacher=make_teacher())}, field="objective") * bad_axis
        + axis("lr", {"x": 1e-3}, field="optimizer.lr"),
        baseline={"los": "LM"},
        seeds=(0, 0),
        name="a study",
        evaluations=(Heldout(data=Slice(split="test", tokens=100)),),
        outputs=(Curves(lines="losss"), Compare()),
    )
    found = study.problems()
    fields = [p.field for p in found]
    for expected in ("name", "seeds", "baseline", "evaluations[0].data.tokens", "outputs[0]", "optimizer.lr",
                     "objective.temperature.tau"):  # fmt: skip
        assert expected in fields, fields
    assert all(p.file == __file__ and p.line > 0 for p in found)
    (unknown,) = [p for p in found if p.field == "optimizer.lr"]
    assert "did you mean 'optimiser'" in str(unknown)
    tau = next(p for p in found if p.field == "objective.temperature.tau")
    source = Path(__file__).read_text().splitlines()[tau.line - 1]
    assert "bad_axis = axis" in source


def test_a_field_of_another_class_is_named() -> None:
    study = make_study(grid=axis("tau", (1.0,), field="objective.temperature.tau"), baseline={})
    (problem,) = study.problems()
    assert "LM" in problem.allowed


def test_arms_with_equal_labels_are_refused() -> None:
    study = make_study(grid=axis("a", {"x": 1}, field="seed") + axis("a", {"x": 2}, field="seed"), baseline={})
    assert any("more than once" in p.allowed for p in study.problems())


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_study_file_that_raises_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py:3: ZeroDivisionError"):
        load_study(write(tmp_path, "\ndef study(scale='mini'):\n    return 1 / 0\n"))


def test_a_study_file_with_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py:2: SyntaxError"):
        load_study(write(tmp_path, "\ndef study(:\n"))


def test_an_unknown_field_names_the_nearest(tmp_path: Path) -> None:
    text = "from pdstudy import Shape\ndef study(scale='mini'):\n    return Shape(widht=3)\n"
    with pytest.raises(ConfigError, match=r"mine\.py:3: Shape has no field 'widht'.*did you mean 'width'"):
        load_study(write(tmp_path, text))


def test_a_file_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="defines no function"):
        load_study(write(tmp_path, "x = 1\n"))
    with pytest.raises(ConfigError, match="returned int"):
        load_study(write(tmp_path, "def study(scale='mini'):\n    return 3\n"))
    with pytest.raises(ConfigError, match="no study file"):
        load_study(str(tmp_path / "absent.py"))
