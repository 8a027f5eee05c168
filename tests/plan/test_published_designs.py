"""The designs of published scaling studies as code: sizes, cells and budgets are the papers'."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from pdstudy.config.alpha import Steady
from pdstudy.config.placement import H100
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.truncation import Sampled
from pdstudy.plan.account import tallies
from pdstudy.plan.builder import make_plan
from pdstudy.plan.cost import sizes
from pdstudy.plan.store_bytes import DECODED_ENTRIES_PER_CORE, reading
from pdstudy.study.study import Cell, Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

FOLDER = Path(__file__).parents[2] / "studies" / "published"
NAMED = {"198M": 198e6, "546M": 546e6, "975M": 975e6, "1.82B": 1.82e9, "7.75B": 7.75e9}
"""Non-embedding parameters that Busbridge et al. 2025 name (their designs and figures)."""


def planned(name: str, tmp_path: Path) -> Study:
    study = load_study(str(FOLDER / f"{name}.py"), "paper")
    assert not make_plan(study, Workspace(tmp_path)).problems
    return study


def teacher_of(cell: Cell) -> Run:
    assert isinstance(cell.run.teacher, Run)
    return cell.run.teacher


def flops(run: Run) -> float:
    """Of training, by the paper's approximation (to 0.4 %): F(N) = 2N (1 + s1 context / N^(1/3) + s2 vocab / N^(2/3)),
    with a width of 128 per layer and 12 width^2 weights in each."""
    n, shape, omega = size(run), 128, 12
    s1, s2 = (1 / (shape * omega**2)) ** (1 / 3), (shape / omega) ** (1 / 3)
    return 3 * 2 * n * (1 + s1 * 4096 / n ** (1 / 3) + s2 * 32_168 / n ** (2 / 3)) * run.num_tokens


def size(run: Run) -> int:
    return sizes(run)[0]


def test_students_of_equal_compute(tmp_path: Path) -> None:
    """(i): six teachers at 20 tokens per parameter, budgets of 3e19 to 3e21 FLOPs, all teachers over each student."""
    cells = planned("isoflop_students", tmp_path).cells
    teachers = {cell.labels["teacher"]: teacher_of(cell) for cell in cells}
    assert len(teachers) == 6
    assert (min(map(size, teachers.values())), max(map(size, teachers.values()))) == (
        pytest.approx(546e6, rel=2e-3), pytest.approx(7.75e9, rel=2e-3)
    )  # fmt: skip
    for label, teacher in teachers.items():
        assert teacher.num_tokens == pytest.approx(20 * size(teacher), rel=1e-3)
        if label in NAMED:
            assert size(teacher) == pytest.approx(NAMED[label], rel=2e-3)
    budgets = Counter(cell.labels["student"].partition(" at ")[2] for cell in cells)
    assert set(budgets) == {"3e19", "1e20", "3e20", "1e21", "3e21"}
    assert min(budgets.values()) >= 3 * 6, "a minimum needs three sizes"
    for cell in cells:
        assert flops(cell.run) == pytest.approx(float(cell.labels["student"].partition(" at ")[2]), rel=4e-3)
    assert len(cells) == len({c.labels["student"] for c in cells}) * 6


def test_teachers_of_equal_compute(tmp_path: Path) -> None:
    """(ii): four students at 20 tokens per parameter under teachers of the same budgets."""
    cells = planned("isoflop_teachers", tmp_path).cells
    students = {cell.labels["student"]: cell.run for cell in cells}
    assert {label: size(run) for label, run in students.items()} == {
        label: pytest.approx(NAMED[label], rel=2e-3) for label in ("198M", "546M", "975M", "1.82B")
    }
    for run in students.values():
        assert run.num_tokens == pytest.approx(20 * size(run), rel=1e-3)
    for cell in cells:
        budget = float(cell.labels["teacher"].partition(" at ")[2])
        assert flops(teacher_of(cell)) == pytest.approx(budget, rel=4e-3)


def test_fixed_ratios(tmp_path: Path) -> None:
    """(iii): ten teachers by five students by five ratios."""
    cells = planned("fixed_ratios", tmp_path).cells
    assert len(cells) == 10 * 5 * 5
    assert len({teacher_of(cell) for cell in cells}) == 10
    ratios = Counter(round(cell.run.num_tokens / size(cell.run), 1) for cell in cells)
    assert ratios == dict.fromkeys((20, 40, 80, 160, 320), 50)


def test_distillation_is_pure_and_of_text_that_the_teacher_has_not_seen(tmp_path: Path) -> None:
    (objective,) = {
        (o.alpha, o.stored, o.mix)
        for cell in planned("isoflop_students", tmp_path).cells
        if isinstance(o := cell.run.objective, KD)
    }
    assert objective == (1, "live", Steady())
    for cell in planned("isoflop_students", tmp_path).cells:
        assert cell.run.data.tokens == teacher_of(cell).data.tokens == pytest.approx(90e9)
        assert not cell.run.data.shared(teacher_of(cell).data)


def test_gemma_draws_256_ids_of_two_teachers_over_budgets_up_to_2t_tokens(tmp_path: Path) -> None:
    study = planned("gemma3", tmp_path)
    budgets = [run.num_tokens for run in dict.fromkeys(c.run for c in study.cells if c.labels["teacher"] == "none")]
    assert budgets[-1] == pytest.approx(2e12, rel=1e-5)
    assert [b / a for a, b in itertools.pairwise(budgets)] == pytest.approx([2] * 5, rel=1e-4)
    assert len(study.cells) == 6 * 3
    objectives = {cell.run.objective for cell in study.cells if isinstance(cell.run.objective, KD)}
    assert {o.truncation for o in objectives if isinstance(o, KD)} == {Sampled(draws=256)}
    shapes = [o.teacher.shape for o in objectives if isinstance(o, KD) and isinstance(o.teacher, Pretrained)]
    found = sorted(shape.parameters().non_embedding for shape in (*shapes, study.base.student) if shape)  # type: ignore[union-attr]
    assert found == pytest.approx([698e6, 3209e6, 25_600e6], rel=2e-3), "table 1 of the report"
    plan = make_plan(study, Workspace(tmp_path))
    (tally,) = tallies(plan)
    assert tally.branches == 5 * 3
    reader = reading(plan)
    assert reader is not None
    tokens = H100.devices * H100.flops_per_second / (3 * sizes(study.base)[2])
    assert reader.cores == pytest.approx(tokens * (256 + 1) / DECODED_ENTRIES_PER_CORE), "draws are decoded, too"
