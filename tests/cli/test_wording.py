"""Messages, help and reports use the words of the field: run, worker, teacher inference, evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pdstudy
from tests.core.guides import GUIDES

ROOT = Path(pdstudy.__file__).parent.parent
HOUSE_SLANG = re.compile(r"\b(cells?|slots?|asked|told|course of alpha|teacher's pass|passes of the teacher)\b", re.I)
TABLE_CELLS = "a row of  cells under"


def shown(path: Path) -> Iterator[str]:
    """Strings of several words in a module, f-strings without their fields; docstrings are not shown to users."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | docstrings:
            yield node.value


@pytest.mark.integration
def test_no_slang_of_the_house_is_shown() -> None:
    files = [path for folder in ("pdstudy", "analysis", "studies") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 150
    found = [
        (path.relative_to(ROOT).as_posix(), text)
        for path in files
        for text in shown(path)
        if " " in text.strip() and HOUSE_SLANG.search(text) and not text.startswith(TABLE_CELLS)
    ]
    assert found == []
    assert [g for g in GUIDES if HOUSE_SLANG.search((ROOT / g).read_text(encoding="utf-8"))] == []
