"""`python -m pdstudy.models.count STUDENT.json CONTEXT`: parameters and FLOPs of a student, on the meta device.

A process of its own, started by `pdstudy.plan.model_size`, so that planning stays quick and free of torch.
"""

from __future__ import annotations

import json
import sys

from pdstudy.core.identity import decode
from pdstudy.models.build_model import count

if __name__ == "__main__":
    print(json.dumps(count(decode(json.loads(sys.argv[1])), int(sys.argv[2]))))
