"""`python -m pdstudy.models.count STUDENTS DESCRIPTOR`: parameters, FLOPs and the self-test of students.

A process of its own, started by `pdstudy.plan.model_size`, so that planning stays quick and free of torch. STUDENTS are
pairs of a student and a context, as JSON; so is the answer, to the descriptor: of each what `examine` gives.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pdstudy.config.model import TransformersConfig
from pdstudy.core.identity import decode
from pdstudy.models.experts import balance_weight
from pdstudy.models.flops import count
from pdstudy.models.self_test import self_test
from pdstudy.models.student_config import RefusedStudent, transformers_config


def examine(student: TransformersConfig, context: int) -> dict[str, Any]:
    """Count and test a student: what `count` gives, with `differences` and `faults` of the self-test.

    What stands in the way of that is "refused": the `field`, what was `found`, what is `allowed`, and a `hint`.
    """
    try:
        balance_weight(transformers_config(student))
        counts: dict[str, Any] = count(student, context)
        parameters = counts["embedding"] + counts["non_embedding"] + counts["head"]
        tested = self_test(student, context, int(parameters))
    except RefusedStudent as error:
        problem = error.problem
        parts = {"field": problem.field, "found": problem.found, "allowed": problem.allowed, "hint": problem.hint}
        return {"refused": parts}
    except Exception as error:  # whatever a family of transformers raises on sizes that do not fit together
        hint = " ".join(f"transformers says {type(error).__name__}: {error}".split())[:300]
        found = {"field": "student.settings", "found": student.model_type, "allowed": "sizes that fit together"}
        return {"refused": {**found, "hint": hint}}
    return {**counts, "differences": tested.differences, "faults": tested.faults}


if __name__ == "__main__":
    students, channel = sys.argv[1:]
    with os.fdopen(int(channel), "w") as answer:
        json.dump([examine(decode(student), context) for student, context in json.loads(students)], answer)
