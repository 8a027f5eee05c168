"""The map of the packages names paths that exist, and every package."""

from __future__ import annotations

import pydoc
import re
from pathlib import Path

import pdstudy

PACKAGE = Path(pdstudy.__file__).parent
TEXT = (PACKAGE / "README.md").read_text(encoding="utf-8")
PATH = re.compile(r"`([a-z_]+(?:/[a-z_]*)*(?:\.py|/))`")


def test_every_path_on_the_map_exists() -> None:
    named = PATH.findall(TEXT)
    assert len(named) > 50
    assert [path for path in named if not (PACKAGE / path).exists()] == []


def test_every_package_is_on_the_map_and_has_a_face() -> None:
    packages = {path.parent.name + "/" for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(PATH.findall(TEXT))
    for package in packages:
        face = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
        assert face.startswith('"""'), package


def test_the_map_is_one_page() -> None:
    assert len(TEXT.split()) < 900


def test_help_begins_with_a_map_of_all_public_names_by_topic() -> None:
    shown = pydoc.plaintext.document(pdstudy)
    description = shown[shown.index("DESCRIPTION") : shown.index("PACKAGE CONTENTS")]
    assert shown.index("DESCRIPTION") < 300
    named = {*re.findall(r"\w+", description), "ConfigError", "Problem"}  # the last two are what is raised
    assert [name for name in pdstudy.__all__ if name not in named] == []
    assert description.count("\n") < 50
