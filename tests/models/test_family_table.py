"""The table of families: what it says holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pdstudy.config.model import TransformersConfig
from pdstudy.core.validation import problems
from pdstudy.models.count import examine
from pdstudy.models.self_test import self_test
from tests.models.families import BEGIN, CONTEXT, END, FAMILIES, README, REFUSED, examined
from tests.models.published import PUBLISHED, changes

INCOMPLETE = {"ministral": ("head_dim",), "nemotron": ("num_key_value_heads", "num_attention_heads")}
"""Settings without which a family's default configuration cannot be built."""


def test_the_table_has_every_family() -> None:
    table = README.read_text().split(BEGIN)[1].split(END)[0]
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == list(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_the_table_says_of_students_holds(family: str) -> None:
    found = examined(family)
    assert "refused" not in found
    assert tuple(found["faults"]) == REFUSED.get(family, ())


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_published_model_is_tested_as_a_small_one_of_its_kind(family: str) -> None:
    """The sizes of a family's first published model, which are its defaults."""
    kept = ("router_aux_loss_coef", *INCOMPLETE.get(family, ()))
    settings = {name: value for name, value in FAMILIES[family].items() if "drop" in name or name in kept}
    student = TransformersConfig(model_type=family, settings=tuple(settings.items()), vocab=32_000)
    assert tuple(self_test(student, CONTEXT, 10**9).faults) == REFUSED.get(family, ())


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_model_of_a_published_file_is_a_student(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    student = TransformersConfig.from_folder(str(tmp_path), vocab=96, **changes(name))
    assert list(problems(student)) == []
    found = examine(student, CONTEXT)
    assert found.get("faults") == {}, found
    if name != "gemma-3-4b":  # whose file leaves the number of rows out
        unbalanced = {"router_aux_loss_coef": 0.0} if name == "DeepSeek-V3" else {}
        whole = TransformersConfig.from_folder(str(tmp_path), **unbalanced)
        assert self_test(with_no_dropout(whole), CONTEXT, 10**9).faults == {}


def with_no_dropout(student: TransformersConfig) -> TransformersConfig:
    still = tuple((name, 0.0 if "drop" in name else value) for name, value in student.settings)
    return dataclasses.replace(student, settings=still)
