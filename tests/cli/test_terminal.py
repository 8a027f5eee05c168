"""What reaches a terminal: no control characters, lines that fit, characters that the encoding has."""

from __future__ import annotations

import io

import pytest

from pdstudy.cli.status_commands import _log_text, _without_dates
from pdstudy.cli.tables import print_table, table_text
from pdstudy.cli.terminal import display_width, say, shortened, styled, wrapped
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


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_the_last_column_is_wrapped_and_loses_no_word(width: int) -> None:
    reason = "its worker was killed by signal 9, 3 times (signal 9 is often the system out of memory)"
    lines = table_text(["stage", "artifact", ""], [[*ROWS[0][:2], reason]], right=frozenset(), width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 7 + 2 + 12 + 2 + 24)
    assert "".join(lines[1:]).replace(" ", "").endswith(reason.replace(" ", ""))


def test_words_that_are_too_wide_are_broken() -> None:
    assert wrapped("a bcdefgh ij", 3) == ["a", "bcd", "efg", "h", "ij"]
    assert wrapped("", 3) == [""]
    assert all(display_width(line) <= 3 for line in wrapped("模型模型 ab", 3))


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


def test_a_log_is_shown_without_colours_and_bars_line_by_line() -> None:
    raw = b"\x1b[32mINFO\x1b[0m begins\r\n 10%|#   |\r 50%|##  |\n\x1b[2Jx\xff\n"
    assert _log_text(raw) == "INFO begins\n 10%|#   |\n 50%|##  |\n\\x1b[2Jx\ufffd\n"


def test_dates_stand_alone_and_a_step_fits_80_columns() -> None:
    step = "step 123456/200000: loss 5.6895, grad 0.481, lr 0.00125, 12.1k tokens/s"
    lines = [
        f"2026-11-28 23:59:59 {step}",
        f"2026-11-29 00:00:00 {step}",
        "a trace of an error",
        "2026-11-29 00:00:01 x",
    ]
    shown = _without_dates(lines)
    assert shown == [
        "2026-11-28", f"23:59:59 {step}", "2026-11-29", f"00:00:00 {step}", "a trace of an error", "00:00:01 x"
    ]  # fmt: skip
    assert max(map(len, shown)) == 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert styled("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert styled("x", "", Terminal()) == styled("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert styled("x", "red", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", "red", Terminal()) == "x"


def test_what_a_text_holds_is_shown_and_only_its_style_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    say("a\x1b[2Jb", file=stream, style="bold")
    assert stream.getvalue() == "\x1b[1ma\\x1b[2Jb\x1b[0m\n"
