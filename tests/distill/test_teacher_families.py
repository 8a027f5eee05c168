"""Teachers of every family of transformers, stored and live, say what transformers says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy.config.model_folder import check_folder
from pdstudy.models.student_config import transformers_config
from tests.distill.teacher_families import (
    VIEW,
    WITH_IMAGES,
    differences,
    save_with_images,
    shared_corpus,
    taught,
)
from tests.models.families import FAMILIES, student_of

CLOSE = 1e-4
"""Largest difference in log-probabilities over their standard deviation: float32 rounding is 2e-6 of most families."""


def assert_close(found: dict[str, float | str]) -> None:
    for way, difference in found.items():
        assert isinstance(difference, float), difference
        assert difference < CLOSE, way


@pytest.mark.parametrize(
    "family", ["gemma2", *(pytest.param(name, marks=pytest.mark.integration) for name in ("granite", "phi", "opt"))]
)
def test_caps_scales_biases_and_projections_are_the_teacher_s_own(family: str) -> None:
    assert_close(taught(student_of(family)))


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_the_table_says_of_teachers_holds(family: str) -> None:
    assert_close(taught(student_of(family)))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "gemma3" else pytest.mark.slow) for n in WITH_IMAGES]
)
def test_a_model_of_images_and_text_teaches_by_its_text_part(name: str, tmp_path: Path) -> None:
    family = WITH_IMAGES[name][1]
    folder = save_with_images(name, transformers_config(student_of(family)), tmp_path / name)
    assert not list(check_folder(str(folder), shared_corpus()[0], VIEW))
    assert_close(differences(folder))
