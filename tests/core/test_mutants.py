"""The lists of slips fit the code: each text that a slip replaces is there once, and its tests exist."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import ROOT, parts, slips_of


@pytest.mark.parametrize("part", parts())
def test_slips_have_their_place(part: str) -> None:
    slips = slips_of(part)
    assert len({(slip.file, slip.old, slip.new) for slip in slips}) == len(slips)
    for slip in slips:
        assert (ROOT / slip.file).read_text(encoding="utf-8").count(slip.old) == 1, slip.name
        for word in slip.tests.split():
            assert word.startswith("-") or " " in word or not word.startswith("tests") or (ROOT / word).exists(), word
