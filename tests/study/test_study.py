"""Declaring studies: grids, labels, problems with their lines, and study files with errors in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy import (
    KD,
    LM,
    WSD,
    AdamW,
    Compare,
    Cosine,
    Curves,
    Heldout,
    JensenShannon,
    Machine,
    Online,
    Pretrained,
    PretrainedTokenizer,
    Slice,
    Start,
    Study,
    View,
    Weighted,
    arm,
    axis,
)
from pdstudy.core.validation import problems
from pdstudy.plan.builder import make_plan
from pdstudy.study.collection import Collection
from pdstudy.study.study import matches
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher

TOKENS = make_run().num_tokens


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
    for expected in (
        "name", "seeds", "baseline['los']", "evaluations[0].data.tokens", "outputs[0].lines", "optimizer.lr",
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


@pytest.mark.parametrize(
    ("seeds", "hint"),
    [(3, "write (0, 1, 2) for 3 seeds, (3,) for seed 3 alone"), (1234, "write (1234,) for seed 1234 alone")],
)
def test_one_number_of_seeds_is_refused_with_what_it_may_have_meant(seeds: int, hint: str) -> None:
    (found,) = (p for p in make_study(seeds=seeds).problems() if p.field == "seeds")
    assert found.hint == hint


def test_the_name_of_a_model_on_the_hub_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()

    def hints(path: str) -> list[str]:
        return [p.hint for part in (Pretrained(path=path), PretrainedTokenizer(path=path)) for p in problems(part)]

    for hint in hints("Qwen/Qwen3-8B"):
        assert hint.endswith("`hf download Qwen/Qwen3-8B --local-dir models/Qwen3-8B`, then path='models/Qwen3-8B'")
    for path in ("models/absent", "/models/absent", "../absent", "a/b/c"):
        assert not any("hf download" in hint for hint in hints(path))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("optimiser.lr", {"base": make_run(optimiser=AdamW(lr=float("nan")))}),
        ("view.context", {"base": make_run(view=View(context=0))}),
        ("view.context", {"base": make_run(view=View(context="64"))}),  # type: ignore[arg-type]
        ("data.tokens", {"base": make_run(data=Slice(tokens="640"))}),  # type: ignore[arg-type]
        ("data.tokens", {"base": make_run(data=Slice(tokens=float("nan")))}),  # type: ignore[arg-type]
        ("start.model.steps", {"base": make_run(start=Start(model=make_run(tokens=None), tokens=640))}),
        (
            "objective.teacher.run.steps",
            {
                "grid": axis("o", {"o": KD(teacher=Online(run=make_run(tokens=None)))}, field="objective"),
                "baseline": {},
            },
        ),
        ("machine", {"machine": None}),
        ("evaluations[0].data.tokens", {"evaluations": (Heldout(data=Slice(split="test", tokens="9")),)}),  # type: ignore[arg-type]
        ("evaluations", {"evaluations": Heldout(data=Slice(split="test", tokens=640))}),
        ("outputs[0]", {"outputs": (Compare,)}),
        ("outputs[0].lines", {"outputs": (Curves(lines=["loss"]),)}),  # type: ignore[arg-type]
        ("baseline['loss']", {"baseline": {"loss": ["LM"]}}),
        ("baseline", {"baseline": {}, "outputs": (Compare(),)}),
        ("outputs[0].against", {"outputs": (Compare(against="WSD"),)}),
        ("schedule.warmup_tokens", {"base": make_run(schedule=Cosine(warmup_tokens=10**9))}),
        ("schedule.decay_tokens", {"base": make_run(schedule=WSD(warmup_tokens=640, decay_tokens=TOKENS))}),
        ("tokens_per_step", {"base": make_run(tokens_per_step=0)}),
        ("seeds", {"seeds": 3}),
        ("seeds[0]", {"seeds": (0.5, 1)}),
        ("seeds", {"seeds": (-1, 1)}),
        ("baseline", {"baseline": "LM"}),
        ("base", {"base": None}),
        ("grid", {"grid": axis("loss", {"LM": LM()}, field="objective").where(lambda a: False), "baseline": {}}),
        ("machine.flops_per_second", {"machine": Machine(name="none", flops_per_second=0)}),
    ],
)
def test_nonsense_is_a_problem_and_no_traceback(field: str, changes: dict[str, object]) -> None:
    plan = make_plan(make_study(**changes), Workspace(Path("workspace")))
    assert field in [p.field for p in plan.problems]


def test_a_wrong_type_is_said_in_words_and_hides_nothing_else() -> None:
    base = make_run(data=Slice(split="tran", tokens=640), optimiser=AdamW(lr="3"))  # type: ignore[arg-type]
    found = [str(p).partition(": ")[2] for p in make_study(base=base, outputs=Compare()).problems()]
    for expected in (
        "data.split: found 'tran'; allowed: 'train', 'validation' or 'test'",
        "optimiser.lr: found '3'; allowed: a finite number",
    ):
        assert expected in found
    assert any(p.startswith("outputs: ") and p.endswith("(a tuple of one is written (it,))") for p in found)
    wrong = make_run(objective="LM", steps=2.5, tokens=None)  # type: ignore[arg-type]
    found = [str(p) for p in problems(wrong)]
    assert found == [
        "objective: found 'LM'; allowed: LM or KD",
        "steps: found 2.5; allowed: a whole number or None",
    ]
    with pytest.raises(TypeError, match="axis 'loss': found 3; allowed: a mapping"):
        axis("loss", 3)  # type: ignore[arg-type]


def test_labels_are_text_and_none_is_lost() -> None:
    grid = axis("lr", {1e-3: 1e-3, 2: 2e-3}, field="optimiser.lr")  # type: ignore[dict-item]
    assert [a["lr"] for a in grid.arms] == ["0.001", "2"]
    (problem,) = make_study(grid=grid, baseline={"lr": 1e-3}).problems()
    assert "did you mean '0.001'?" in str(problem)
    close = axis("wd", (0.12345671, 0.12345672), field="optimiser.weight_decay")
    assert [p.field for p in make_study(grid=close, baseline={}).problems()] == ["grid"]


def test_the_seed_is_no_axis() -> None:
    assert {p.field for p in make_study(grid=axis("seed", (5, 6)), baseline={}).problems()} == {"seed"}


def test_a_problem_of_the_base_has_its_own_line() -> None:
    study = make_study(base=make_run(optimiser=AdamW(lr=-1)))
    (problem,) = study.problems()
    assert problem.file == __file__
    assert "AdamW(lr=-1)" in Path(__file__).read_text().splitlines()[problem.line - 1]


def test_a_term_of_a_sum_and_a_teacher_s_folder_are_checked(tmp_path: Path) -> None:
    loss = Weighted(terms=((1.0, JensenShannon(beta=5)),))
    levels = {
        "LM": LM(),
        "KD": KD(teacher=make_teacher(), loss=loss),
        "far": KD(teacher=Pretrained(path=str(tmp_path))),
    }
    found = [p.field for p in make_study(grid=axis("loss", levels, field="objective")).problems()]
    assert found == ["objective.loss.terms[0][1].beta", "objective.teacher.path"]


def test_evaluations_fit_every_context_of_the_grid() -> None:
    grid = axis("context", {"64": {}, "128": {"view.context": 128, "tokens_per_step": 1280}})
    evaluations = (Heldout(data=Slice(split="test", tokens=64)),)
    (problem,) = make_study(grid=grid, baseline={}, evaluations=evaluations, base=make_run(tokens=12800)).problems()
    assert problem.field == "evaluations[0].data.tokens"
    assert "128" in problem.allowed


def test_a_later_axis_sets_fields_inside_an_earlier_one_s() -> None:
    """`a * b`: the changes of b come after those of a. In the other order each run would have the default alpha."""
    losses = axis("loss", {"KD": KD(teacher=make_teacher()), "js": KD(teacher=make_teacher(), loss=JensenShannon())},
                  field="objective")  # fmt: skip
    alphas = axis("alpha", (0.25, 0.75), field="objective.alpha")
    for grid in (losses * alphas, losses.zip(alphas)):
        study = make_study(grid=grid, seeds=(0,), baseline={})
        assert not study.problems()
        for cell in study.cells:
            assert isinstance(cell.run.objective, KD)
            assert str(cell.run.objective.alpha) == cell.labels["alpha"]
    assert len(make_study(grid=losses * alphas, seeds=(0,), baseline={}).cells) == 4


def test_a_run_of_a_bracketed_label_is_found_by_its_name() -> None:
    """As a pattern, [a] is the letter a."""
    assert matches("mix=[a],seed=0", "mix=[a],seed=0")
    assert matches("mix=a,seed=0", "mix=[a],seed=0")
    assert matches("mix=[a],seed=0", "mix=*,seed=0")
    assert not matches("mix=[a],seed=1", "mix=[a],seed=0")


def test_studies_together_are_elsewhere_where_one_of_them_is() -> None:
    here, there = make_study(), make_study(name="other", elsewhere=True)
    assert [Collection.of("all", each).elsewhere for each in ((here,), (here, there), (there, here))] == [
        False,
        True,
        True,
    ]
