"""The command `job`: one run of a study as a file, for torchrun."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from pathlib import Path

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.target import planned
from pdstudy.cli.terminal import say
from pdstudy.core.errors import ConfigError
from pdstudy.plan.artifact import RunArtifact
from pdstudy.plan.plan import Plan


def add(command: AddCommand) -> None:
    sub = command("job", _job, "write one run of a study to a file that torchrun can carry out", json=False)
    sub.add_argument("pattern", help="a pattern over names of runs that one of them matches, or: teacher")
    sub.add_argument("--out", type=Path, default=Path("job.json"), help="file to write (default: job.json)")


def _job(args: argparse.Namespace) -> int:
    from pdstudy.launch.work_order import training_job

    plan, workspace = planned(args)
    plan.check_here()
    artifact = _one_run(plan, args.pattern)
    job = training_job(artifact, plan.study, workspace)
    if lacking := job.missing_input():
        raise ConfigError(f"{artifact.label}: {lacking}; `pdstudy run {args.study}` makes what a run needs")
    job.write(args.out)
    say(f"wrote {args.out}; next: torchrun --nproc-per-node N -m pdstudy.train {args.out}")
    return 0


def _one_run(plan: Plan, pattern: str) -> RunArtifact:
    """The one run that a pattern names. Raises `ConfigError` where there is none, or more."""
    by_role = [run for run in plan.runs if run.role == pattern]
    found = by_role or [
        run for run in plan.runs if any(name == pattern or fnmatch(name, pattern) for name in (*run.cells, run.key))
    ]
    if len(found) != 1:
        names = ", ".join(run.label for run in (found or plan.runs)[:4])
        raise ConfigError(f"pattern: found {pattern!r}, which matches {len(found)} runs; allowed: one of {names}, ...")
    return found[0]
