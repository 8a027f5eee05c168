"""`torchrun --nproc-per-node N -m pdstudy.train ASSIGNMENT.json`, or `python -m pdstudy.train` for one rank."""

import sys
from pathlib import Path

from pdstudy.train.assignment import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pdstudy.train ASSIGNMENT.json (see pdstudy.train.assignment.Assignment)")
    sys.exit(main(Path(sys.argv[1])))
