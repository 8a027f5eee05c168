"""`python -m pdstudy.models.count STUDENT CONTEXT DESCRIPTOR`: parameters, FLOPs and the self-test of a student.

A process of its own, started by `pdstudy.plan.model_size`, so that planning stays quick and free of torch. The answer,
as JSON to the descriptor: what `count` gives with "differences" and "faults" of the self-test, or "refused".
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pdstudy.config.model import TransformersConfig
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode
from pdstudy.models.experts import balance_weight
from pdstudy.models.flops import count
from pdstudy.models.self_test import self_test
from pdstudy.models.student_config import transformers_config


def examine(student: TransformersConfig, context: int) -> dict[str, Any]:
    """Count and test a student; what stands in the way of both is "refused", in one line."""
    try:
        balance_weight(transformers_config(student))
        counts: dict[str, Any] = count(student, context)
        parameters = counts["embedding"] + counts["non_embedding"] + counts["head"]
        tested = self_test(student, context, int(parameters))
    except ConfigError as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever a family of transformers raises on sizes that do not fit together
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return {"refused": f"student.settings: transformers cannot build {student.model_type!r} with them ({words})"}
    return {**counts, "differences": tested.differences, "faults": tested.faults}


if __name__ == "__main__":
    encoded, context, channel = sys.argv[1:]
    with os.fdopen(int(channel), "w") as answer:
        json.dump(examine(decode(json.loads(encoded)), int(context)), answer)
