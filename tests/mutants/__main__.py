"""`python -m tests.mutants [PART ...] [--workers N] [--seconds S]`: which slips do the tests notice?

Parts are the modules beside this one. Each worker has a copy of the tracked files; a slip is applied, its tests are
run until the first failure, the slip is taken back. Ends with 1 where a slip survives that is not said to be harmless.
"""

from __future__ import annotations

import argparse
import importlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.mutants.slip import Slip

ROOT = Path(__file__).parents[2]
NOT_PARTS = ("__init__", "__main__", "slip")


def parts() -> list[str]:
    """The names of all lists of slips."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_PARTS)


def slips_of(part: str) -> tuple[Slip, ...]:
    found: tuple[Slip, ...] = importlib.import_module(f"tests.mutants.{part}").SLIPS
    return found


def copy_tree(target: Path) -> None:
    """The tracked files as they are in the working tree, links as links."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith("reports/") and (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def try_slip(slip: Slip, copy: Path, seconds: float) -> str:
    """ "noticed", "survived", "hung" (noticed by time) or "misplaced" (the text is not there once)."""
    file = copy / slip.file
    text = file.read_text(encoding="utf-8")
    if text.count(slip.old) != 1:
        return "misplaced"
    file.write_text(text.replace(slip.old, slip.new), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *slip.tests.split()]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        file.write_text(text, encoding="utf-8")
    if done.returncode not in (0, 1, 5):  # 5: all of its tests are slow, and so none of `make test`
        raise RuntimeError(
            f"{slip.name}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return "noticed" if done.returncode == 1 else "survived"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *parts()], help="default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300, help="for the tests of one slip (default: 300)")
    args = parser.parse_args()
    wanted: queue.SimpleQueue[tuple[str, Slip]] = queue.SimpleQueue()
    for part in args.parts or parts():
        for slip in slips_of(part):
            wanted.put((part, slip))
    ended: dict[str, list[str]] = {}

    def work() -> None:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            copy_tree(Path(folder))
            while not wanted.empty():
                part, slip = wanted.get()
                state = try_slip(slip, Path(folder), args.seconds)
                state = "harmless" if state == "survived" and slip.harmless else state
                ended.setdefault(part, []).append(state)
                print(f"{state:10} {slip.name}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(args.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [state for found in ended.values() for state in found]
    for part, found in sorted(ended.items()):
        print(f"{part:12} {sum(s in ('noticed', 'hung') for s in found)} of {len(found)} noticed")
    print(f"in all {sum(s in ('noticed', 'hung') for s in states)} of {len(states)} noticed, "
          f"{states.count('harmless')} harmless, {states.count('misplaced')} misplaced")  # fmt: skip
    return int(bool({"survived", "misplaced"} & set(states)))


if __name__ == "__main__":
    sys.exit(main())
