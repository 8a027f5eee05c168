"""Parameters, FLOPs and the self-test of named transformers configurations, made once and remembered.

Both need torch, so they run in a process of their own (`pdstudy.models.count`): planning stays quick and free of it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pdstudy.config.model import TransformersConfig
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import cache_root, read_json, write_json
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.validation import Problem

OF_DOCUMENTS = ("mask", "packed")
"""Parts of the self-test that matter only where a view respects documents."""

MOST_AT_ONCE = 50
"""Students that one process examines: they stand on its command line."""

Sized = tuple[TransformersConfig, int]
"""A student and the context of its view."""


def counted(student: TransformersConfig, context: int) -> dict[str, Any]:
    """`embedding`, `non_embedding`, `head` parameters and `forward_flops` per token at `context`.

    Of a mixture of experts also `active` parameters. Raises `ConfigError` where transformers cannot build it.
    """
    known = _known([(student, context)])[student, context]
    if "refused" in known:
        raise ConfigError(str(Problem(**known["refused"])))
    return known


def check_students(runs: Iterable[Run]) -> Iterator[tuple[Run, Problem]]:
    """Problems of the students of runs: each that is to be built otherwise, with the first of its runs.

    A field is that of the run. Students that are not known yet are examined together.
    """
    first: dict[tuple[TransformersConfig, int, bool], Run] = {}
    for run in runs:
        if isinstance(run.student, TransformersConfig):
            first.setdefault((run.student, run.view.context, run.view.documents == "respect"), run)
    known = _known((student, context) for student, context, _ in first)
    for (student, context, respects), run in first.items():
        found = known[student, context]
        if "refused" in found:
            yield run, Problem(**found["refused"])
        for part, (wrong, allowed) in found.get("faults", {}).items():
            if respects or part not in OF_DOCUMENTS:
                yield run, Problem("student", student.model_type, allowed, hint=wrong)


def _known(students: Iterable[Sized]) -> dict[Sized, dict[str, Any]]:
    """The remembered sizes of students, after an examination of those of which nothing is."""
    known, new = {}, []
    for each in dict.fromkeys(students):
        found = read_json(_memory(*each))
        if found is None:
            new.append(each)
        else:
            known[each] = found
    for start in range(0, len(new), MOST_AT_ONCE):
        part = new[start : start + MOST_AT_ONCE]
        for each, found in zip(part, _examine(part), strict=True):
            known[each] = found
            with contextlib.suppress(OSError):  # a read-only home only costs counting again
                write_json(_memory(*each), found)
    return known


def _memory(student: TransformersConfig, context: int) -> Path:
    return cache_root() / "students" / f"{fingerprint(student)}-{context}-{_version()}.json"


@functools.cache
def _version() -> str:
    """The code that counts and tests, by its hash, and the version of transformers: of others nothing is remembered."""
    package = Path(__file__).parents[1]
    files = (*sorted((package / "models").glob("*.py")), package / "distill" / "head.py")
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
    return f"{code}-{importlib.metadata.version('transformers')}"


def _examine(students: list[Sized]) -> list[dict[str, Any]]:
    """The answer of `pdstudy.models.count`: on a descriptor of its own, since any library may print."""
    written = json.dumps([(encode(student), context) for student, context in students])
    reading, writing = os.pipe()
    with os.fdopen(reading) as answer:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pdstudy.models.count", written, str(writing)],
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=(writing,),
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        finally:
            os.close(writing)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ConfigError(f"the students could not be examined: {last}")
        found: list[dict[str, Any]] = json.loads(answer.read())
        return found
