"""Cluster profiles: the user's and the project's `pdstudy.toml`, and settings on the command line.

profile = "jean"                  # the profile where the command line names none ("default" without this)

[profiles.jean]                   # all stages
partition = "gpu"
account = "abc"
[profiles.jean.student]           # one stage
minutes = 600
[[profiles.jean.sizes]]           # models from a number of (non-embedding) parameters on; `stage` is optional
parameters = 1e9
nodes = 2
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pdstudy.config.placement import NAMES, SELECTORS, SETTINGS, STAGES, Execution
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import user_path
from pdstudy.core.validation import Problem, nearest, problems


def profile_files() -> tuple[Path, Path]:
    """The user's file and the project's, whether or not they exist."""
    config = user_path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return config / "pdstudy" / "pdstudy.toml", Path("pdstudy.toml")


@dataclass(frozen=True)
class Profile:
    """The rules of one profile, in the order in which they are laid over each other, and the settings over all."""

    name: str
    site: tuple[Execution, ...]
    command_line: tuple[Execution, ...]

    def rules(self, study: Sequence[Execution]) -> tuple[Execution, ...]:
        """With a study's own rules between the site's and the command line's."""
        return (*self.site, *study, *self.command_line)


def load_profile(name: str | None, settings: Sequence[str] = ()) -> Profile:
    """The profile called `name`, or the default one. `settings` are `[stage.]field=value` as on the command line.

    Raises `ConfigError` with all problems of all files and settings at once.
    """
    found: list[Problem] = []
    tables = [(str(path), _parse_file(path, found)) for path in profile_files()]
    requested = name
    for file, table in tables:
        found += _find_unknown(table, ("profile", "profiles"), "", file)
        for key, kind, allowed in (("profile", str, "a name"), ("profiles", dict, "tables [profiles.NAME]")):
            if key in table and not isinstance(table[key], kind):
                found.append(Problem(key, table.pop(key), allowed, file))
        name = requested or table.get("profile") or name
    known = sorted({profile for _, table in tables for profile in table.get("profiles", {})})
    rules: list[Execution] = []
    for file, table in tables:
        profile = table.get("profiles", {}).get(name or "default")
        if profile is not None:
            rules += _parse_rules(profile, f"profiles.{name or 'default'}", file, found)
    if name is not None and name not in known:
        files = " and ".join(file for file, _ in tables)
        where = "" if requested else "profile: "
        allowed = ", ".join(known) or f"none is defined in {files}"
        found.append(Problem(f"{where}--profile", name, allowed, hint=nearest(name, known)))
    line = [rule for text in settings if (rule := _parse_setting(text, found)) is not None]
    if found:
        # TOML gives no line numbers, so the key says where in the file.
        lines = "\n".join(f"  {p.file}: {replace(p, file='')}" if p.file else f"  {p}" for p in found)
        raise ConfigError(f"{len(found)} problem{'s' if len(found) > 1 else ''} with executions:\n{lines}")
    return Profile(name or "default", tuple(rules), tuple(line))


def _parse_file(path: Path, found: list[Problem]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        found.append(Problem("the file", str(error), "TOML", str(path)))
        return {}


def _parse_rules(table: Any, at: str, file: str, found: list[Problem]) -> Iterator[Execution]:
    if not isinstance(table, dict):
        found.append(Problem(at, table, "a table", file))
        return
    settings = {k: v for k, v in table.items() if k not in (*STAGES, "sizes")}
    yield from _parse_rule(settings, SETTINGS, at, file, found, more=(*STAGES, "sizes"))
    for stage in STAGES:
        if stage in table:
            yield from _parse_rule(table[stage], SETTINGS, f"{at}.{stage}", file, found, stage=stage)
    sizes = table.get("sizes", [])
    if not isinstance(sizes, list):
        found.append(Problem(f"{at}.sizes", sizes, f"tables [[{at}.sizes]]", file))
        return
    for i, size in enumerate(sizes):
        yield from _parse_rule(size, (*SELECTORS, *SETTINGS), f"{at}.sizes[{i}]", file, found)


def _parse_rule(
    table: Any, allowed: Sequence[str], at: str, file: str, found: list[Problem], *, more: Sequence[str] = (),
    stage: str | None = None,
) -> Iterator[Execution]:  # fmt: skip
    if not isinstance(table, dict):
        found.append(Problem(at, table, "a table", file))
        return
    found += _find_unknown(table, (*allowed, *more), at, file)
    values: dict[str, Any] = {"stage": stage} if stage else {}
    values |= {k: tuple(v) if isinstance(v, list) else v for k, v in table.items() if k in allowed}
    # TOML has lists and no None. Field by field: one of a wrong kind must not hide what is wrong with another.
    of_stage = {"stage": values["stage"]} if values.get("stage") in STAGES else {}
    wrong = [p for key, value in values.items() for p in problems(Execution(**{**of_stage, key: value}))]
    found += [
        Problem(f"{at}.{p.field}", p.found, p.allowed.replace("a tuple of", "a list of").removesuffix(" or None"), file)
        for p in wrong
    ]
    if not wrong:
        yield Execution(**values)


def _find_unknown(table: dict[str, Any], allowed: Sequence[str], at: str, file: str) -> list[Problem]:
    return [
        Problem(f"{at}.{key}" if at else key, table[key], f"no such key; known: {', '.join(allowed)}", file,
                hint=nearest(key, allowed))
        for key in table if key not in allowed
    ]  # fmt: skip


def _parse_setting(text: str, found: list[Problem]) -> Execution | None:
    """`student.minutes=30` or `partition=gpu`; a value that is not TOML is text."""
    name, equals, value = text.partition("=")
    stage, dot, field = name.rpartition(".")
    if not equals or field not in SETTINGS or (dot and stage not in STAGES):
        allowed = f"[STAGE.]FIELD=VALUE with a stage of {', '.join(STAGES)} and a field of {', '.join(SETTINGS)}"
        hint = nearest(field, SETTINGS) if field not in SETTINGS else nearest(stage, STAGES)
        found.append(Problem("--set", text, allowed, hint=hint))
        return None
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if field in NAMES and not isinstance(parsed, str):
        parsed = value  # an account may be called 12345
    at = f"--set {stage}" if dot else "--set"
    return next(_parse_rule({field: parsed}, SETTINGS, at, "", found, stage=stage or None), None)
