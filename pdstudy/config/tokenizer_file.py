"""The files of a transformers tokenizer, read without loading it: ids, special tokens, the tokens that it names."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from pdstudy.core.files import read_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""The files of a transformers tokenizer that say how text is cut and where documents end."""


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def hub_hint(path: str) -> str:
    """How to save a model of a hub to a folder, where a path may be its name there; else nothing."""
    parent = Path(path).parent
    if not _HUB_NAME.fullmatch(path) or path.startswith(".") or (parent != Path() and parent.is_dir()):
        return ""
    folder = f"models/{Path(path).name}"
    return f"if it is a hub's name, save it once: `hf download {path} --local-dir {folder}`, then path={folder!r}"


def count_ids(folder: Path) -> int | None:
    """One above the highest id; None where the tokenizer is not here, or not as the tokenizers library writes it."""
    read = _read(folder)
    return None if read is None else read[0]


def special_tokens(folder: Path) -> tuple[str, ...] | None:
    """Tokens that no text is cut into; None where the tokenizer cannot be read."""
    read = _read(folder)
    return None if read is None else read[1]


def named_token(folder: Path, role: str) -> str | None:
    """The token that the tokenizer's configuration gives a role, such as "eos_token"; None where it gives none."""
    for name in TOKENIZER_FILES[1:]:
        token = (read_json(folder / name, "save the tokenizer there again") or {}).get(role)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
    return None


def name_tokens(folder: Path, roles: dict[str, Any]) -> None:
    """Change what the configuration files of a tokenizer say of some roles."""
    for name in TOKENIZER_FILES[1:]:
        content = read_json(folder / name, "save the tokenizer there again")
        if content is not None or name == TOKENIZER_FILES[1]:
            text = json.dumps((content or {}) | roles, indent=1, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")


def _read(folder: Path) -> tuple[int, tuple[str, ...]] | None:
    file = folder / TOKENIZER_FILES[0]
    return _read_file(file, file.stat().st_mtime_ns) if file.is_file() else None


@functools.lru_cache(maxsize=8)
def _read_file(file: Path, changed: int) -> tuple[int, tuple[str, ...]] | None:
    """One above the highest id, and the special tokens, of a file that has megabytes: read once per change of it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = content["model"]["vocab"]
        added = content.get("added_tokens", ())
        numbers = entries.values() if isinstance(entries, dict) else range(len(entries))
        special = tuple(token["content"] for token in added if token.get("special"))
        return 1 + max([*numbers, *(token["id"] for token in added)]), special
    except (ValueError, KeyError, TypeError):
        return None
