"""Short runs in a storm: preempted, their nodes downed, daemons and processes killed, at random and seeded.

    python -m tests.slurm.storm --storms 5 --cells 6 --seed 1        (part of `make test-long`)

Every run must end done, with the metrics and weights of an undisturbed `pdstudy run`, and nothing published twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.slurm.lab import Lab, write_texts
from tests.slurm.site import Site

PAUSE_SECONDS = (2.0, 6.0)
ACCIDENTS = (
    "preempt",
    "down",
    "kill node",
    "kill daemon",
    "kill process",
    "terminate process",
    "requeue",
    "controller",
)


class Storm:
    """One study under accidents until it is done."""

    def __init__(self, lab: Lab, site: Site, seed: int) -> None:
        self.lab, self.site = lab, site
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.broken: dict[str, float] = {}

    def blow(self, accidents: int, seconds: float) -> Counter[str]:
        """Submit, let `accidents` happen, then submit again as a user would until all is made and nothing queued."""
        deadline = time.monotonic() + seconds
        self.submit()
        while not self.over():
            if time.monotonic() > deadline:
                raise AssertionError(f"the storm did not end: {self.lab.states()}\n{self.lab.job_logs()}")
            time.sleep(self.rng.uniform(*PAUSE_SECONDS))
            self.mend()
            if self.counts.total() < accidents:
                self.accident()
            self.submit()
        for node in list(self.broken):
            self.broken[node] = 0
        self.mend()
        return self.counts

    def over(self) -> bool:
        """All is made, and no job waits for what can't happen: what SLURM holds, the next submit releases."""
        return set(self.lab.states().values()) == {"done"} and not self.site.ask("squeue", "-h").strip()

    def submit(self) -> None:
        # The controller may be down at this moment, which the command says and which passes.
        words = [part for setting in self.lab.settings for part in ("--set", setting)]
        self.lab.call("submit", "grid.py", "--retry", "killed", "--retry", "lost", *words, check=False)

    def accident(self) -> None:
        kind = self.rng.choice(ACCIDENTS)
        running = self.site.ask("squeue", "-h", "-t", "R", "-o", "%A|%i|%N").splitlines()
        jobs = [line.split("|") for line in running]
        # Most accidents hit a node that is at work.
        node = f"n{self.rng.randint(1, self.site.nodes)}"
        if jobs and self.rng.random() < 0.8:
            node = self.rng.choice(jobs)[2]
        if kind == "preempt":
            self.site.ask("sbatch", "-p", "high", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        elif node in self.broken:
            return
        elif kind == "down":
            self.site.down(node)
            self.broken[node] = time.monotonic() + 8
        elif kind == "kill node":
            self.site.kill_node(node)
            self.broken[node] = time.monotonic() + 15
        elif kind == "kill daemon":
            self.site.kill_daemon(node)
            self.broken[node] = time.monotonic() + 3
        elif kind == "controller":
            self.site.restart_controller()
        elif jobs:
            raw, element, _ = self.rng.choice(jobs)
            if kind == "requeue":
                self.site.works("scontrol", "requeue", element)
            else:
                number = signal.SIGKILL if kind == "kill process" else signal.SIGTERM
                for process in self.site.processes(raw):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)
        else:
            return
        self.counts[kind] += 1

    def mend(self) -> None:
        """Nodes come back after a while, as they do."""
        now = time.monotonic()
        for node, until in list(self.broken.items()):
            if now < until:
                continue
            del self.broken[node]
            pid = self.site.folder / "run" / f"slurmd.{node}.pid"
            if not pid.exists():
                self.site.works("slurmd", "-N", node)
            self.site.resume(node)
        for name in self.site.ask("sinfo", "-h", "-N", "-p", "low", "-t", "drain,down", "-o", "%N").split():
            if name not in self.broken:
                self.site.resume(name)


def storm(site: Site, folder: Path, texts: Path, reference: Lab, seed: int, cells: int, steps: int) -> Counter[str]:
    """A study of `cells` runs, two at a time, in a storm of its own; checked against `reference`."""
    lab = Lab(folder, texts, site).write(steps=steps, seeds=tuple(range(cells)), losses=("LM",))
    lab.take_from(reference, "corpora")
    lab.settings = ["minutes=10", "student.parallelism=2", "student.warning_seconds=20"]
    counts = Storm(lab, site, seed).blow(accidents=2 * cells, seconds=1000)
    expected = reference.outcomes()
    made = lab.outcomes()
    assert len(made) == cells
    for key, outcome in made.items():
        assert outcome == expected[key], f"seed {seed}: {key} is not what it is without a storm"
    counts["starts"] = sum(
        row.count('"start"') for path in lab.workspace.glob("slurm/attempts/student~*") for row in [path.read_text()]
    )
    counts["fenced"] = sum(p.read_text().count('"fenced"') for p in lab.workspace.glob("slurm/attempts/*"))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--storms", type=int, default=5)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pdstudy-storm-"))
    texts = write_texts(folder)
    site = Site(folder / "cluster", 20_000 + os.getpid() % 200 * 200)
    total: Counter[str] = Counter()
    begun = time.perf_counter()
    try:
        site.start()
        reference = Lab(folder / "reference", texts, None)
        reference.write(steps=args.steps, seeds=tuple(range(args.cells)), losses=("LM",))
        reference.call("run", "grid.py", "--workers", "2", timeout=1200)
        for number in range(args.seed, args.seed + args.storms):
            counts = storm(site, folder / f"storm{number}", texts, reference, number, args.cells, args.steps)
            print(f"storm {number}: {args.cells} runs done and right; {dict(counts)}", flush=True)
            total += counts
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}\n{error.stderr}") from error
    finally:
        site.stop()
    print(f"{args.storms} storms, {args.storms * args.cells} runs, {time.perf_counter() - begun:.0f} s: {dict(total)}")


if __name__ == "__main__":
    main()
