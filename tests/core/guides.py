"""The guides' blocks of code and commands, for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pdstudy

ROOT = Path(pdstudy.__file__).parents[1]
GUIDES = (
    "README.md", "studies/README.md", "analysis/README.md", "reports/README.md", "pdstudy/README.md",
    "pdstudy/corpus/README.md", "pdstudy/models/README.md", "pdstudy/slurm/README.md", "pdstudy/search/README.md",
)  # fmt: skip


class Block(NamedTuple):
    guide: str
    kind: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands without their comments."""
        return [re.sub(r"\s+# .*", "", line) for line in self.text.splitlines()]


def blocks() -> list[Block]:
    """All of them, in the order in which they stand."""
    return [
        Block(guide, kind, text)
        for guide in GUIDES
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / guide).read_text(), re.DOTALL | re.MULTILINE)
    ]


def block(guide: str, word: str) -> Block:
    """The block of a guide that has a word."""
    (found,) = (block for block in blocks() if block.guide == guide and word in block.text)
    return found
