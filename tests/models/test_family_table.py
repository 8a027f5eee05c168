"""The table of families: what it says holds."""

from __future__ import annotations

import pytest

from pdstudy.config.model import TransformersConfig
from pdstudy.models.self_test import self_test
from tests.models.families import BEGIN, CONTEXT, END, FAMILIES, README, REFUSED, examined

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
