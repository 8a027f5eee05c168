"""What reaches a terminal: no control characters, lines that fit, characters that the encoding has."""

from __future__ import annotations

import pytest

from pdstudy.cli.tables import print_table, table_text
from pdstudy.cli.terminal import display_width, shortened
from pdstudy.core.streams import printable

HEADER = ["stage", "artifact", "state", "FLOPs"]
ROWS = [
    ["student", "loss=KD,student=100M,alpha=0.9,seed=0", "failed: out of memory at step 1", "1.2e15"],
    ["student", "loss=KD,student=100M,alpha=0.9,seed=1", "done", "1.2e15"],
]


@pytest.mark.parametrize("width", [40, 60, 79, 100, 300])
def test_a_table_fits_its_width_and_keeps_both_ends_of_labels_and_all_of_numbers(width: int) -> None:
    lines = table_text(HEADER, ROWS, right=frozenset({3}), width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 3 * 2 + 3 * 12 + 6)
    assert all(line.endswith("1.2e15") for line in lines[1:])
    assert "loss=" in lines[1]
    assert lines[1].split("  ")[1].rstrip().endswith("=0")
    assert lines[2].split("  ")[1].rstrip().endswith("=1")


def test_a_piped_table_is_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(HEADER, ROWS, right=frozenset({3}))
    printed = capsys.readouterr().out
    assert all(entry in printed for row in ROWS for entry in row)


def test_wide_characters_take_two_columns() -> None:
    assert (display_width("abc"), display_width("模型"), display_width("e\u0301")) == (3, 4, 1)
    assert display_width(shortened("模型大小=一百兆,种子=零", 11)) <= 11
    lines = table_text(["a", "b"], [["模型", "x"], ["abcd", "y"]], right=frozenset(), width=None).splitlines()
    assert {display_width(line[: line.index(last)]) for line, last in zip(lines, "bxy", strict=True)} == {6}


def test_control_characters_are_shown_and_not_sent() -> None:
    assert printable("a\x1b[31mb\r\n\x9b\x07") == "a\\x1b[31mb\\r\\n\\x9b\\x07"
    assert printable("τ = 0.5\nnext", keep="\n") == "τ = 0.5\nnext"
    assert printable("\ud800") == "\\ud800"
