"""`python -m pdstudy.models.count STUDENT CONTEXT DESCRIPTOR`: parameters and FLOPs of a student, on the meta device.

A process of its own, started by `pdstudy.plan.model_size`, so that planning stays quick and free of torch.
"""

from __future__ import annotations

import json
import os
import sys

from pdstudy.core.identity import decode
from pdstudy.models.build_model import count

if __name__ == "__main__":
    student, context, channel = sys.argv[1:]
    with os.fdopen(int(channel), "w") as answer:
        json.dump(count(decode(json.loads(student)), int(context)), answer)
