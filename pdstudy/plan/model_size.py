"""Parameters and FLOPs of a named transformers configuration, counted once and remembered.

The count needs torch, so it runs in a process of its own (`pdstudy.models.count`): planning stays quick and free of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pdstudy.config.model import TransformersConfig
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import cache_root, read_json, write_json
from pdstudy.core.identity import encode, fingerprint


def counted(student: TransformersConfig, context: int) -> dict[str, float]:
    """`embedding`, `non_embedding`, `head` parameters and `forward_flops` per token at `context`."""
    memory = cache_root() / "counts" / f"{fingerprint(student)}-{context}.json"
    known = read_json(memory)
    if known is None:
        done, answer = _count(json.dumps(encode(student)), str(context))
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ConfigError(f"transformers cannot build {student.model_type!r} with {dict(student.settings)}: {last}")
        known = json.loads(answer)
        write_json(memory, known)
    return known


def _count(student: str, context: str) -> tuple[subprocess.CompletedProcess[str], str]:
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
