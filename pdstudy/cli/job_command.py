"""The command `job`: one run of a study as a file, for torchrun."""

from __future__ import annotations

import argparse
from pathlib import Path

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.target import one_run, planned
from pdstudy.cli.terminal import say
from pdstudy.core.errors import ConfigError


def add(command: AddCommand) -> None:
    sub = command("job", _job, "write one run of a study to a file that torchrun can carry out", json=False)
    sub.add_argument("pattern", help="a pattern over names of runs that one of them matches, or: teacher")
    sub.add_argument("--out", type=Path, default=Path("job.json"), help="file to write (default: job.json)")


def _job(args: argparse.Namespace) -> int:
    from pdstudy.launch.work_order import training_job

    plan, workspace = planned(args)
    plan.check_here()
    artifact = one_run(plan, args.pattern)
    job = training_job(artifact, plan.study, workspace)
    if lacking := job.missing_input():
        raise ConfigError(f"{artifact.label}: {lacking}; `pdstudy run {args.study}` makes what a run needs")
    job.write(args.out)
    say(f"wrote {args.out}; next: torchrun --nproc-per-node N -m pdstudy.train {args.out}")
    return 0
