"""Parameters, FLOPs and the self-test of a named transformers configuration, made once and remembered.

Both need torch, so they run in a process of their own (`pdstudy.models.count`): planning stays quick and free of it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
from typing import Any

from pdstudy.config.model import TransformersConfig
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import cache_root, read_json, write_json
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.origin import spot_of

VERSION = 1
"""Version of what is counted and tested: of another one nothing is remembered."""

OF_DOCUMENTS = ("mask", "packed")
"""Parts of the self-test that matter only where a view respects documents."""


def counted(student: TransformersConfig, context: int, *, respects: bool = False) -> dict[str, Any]:
    """`embedding`, `non_embedding`, `head` parameters and `forward_flops` per token at `context`.

    Of a mixture of experts also `active` parameters. Raises `ConfigError` where transformers cannot build the student,
    or its self-test fails in what matters to a view that `respects` documents or not.
    """
    key = f"{fingerprint(student)}-{context}-{VERSION}-{importlib.metadata.version('transformers')}"
    memory = cache_root() / "students" / f"{key}.json"
    known: dict[str, Any] | None = read_json(memory)
    if known is None:
        done, answer = _examine(json.dumps(encode(student)), str(context))
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ConfigError(f"{_where(student)}student: {student.model_type!r} could not be counted: {last}")
        known = json.loads(answer)
        with contextlib.suppress(OSError):  # a read-only home only costs counting again
            write_json(memory, known)
    if "refused" in known:
        raise ConfigError(_where(student) + known["refused"])
    for part, fault in known["faults"].items():
        if respects or part not in OF_DOCUMENTS:
            raise ConfigError(f"{_where(student)}student: found {student.model_type!r}, {fault}")
    return known


def _where(student: TransformersConfig) -> str:
    spot = spot_of(student)
    return f"{spot[0]}:{spot[1]}: " if spot else ""


def _examine(student: str, context: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """The ended process, and its answer: on a descriptor of its own, since any library may print."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as answer:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pdstudy.models.count", student, context, str(writing)],
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=(writing,),
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        finally:
            os.close(writing)
        return done, answer.read()
