"""Options that say which devices of this machine a plan is carried out on, and how many at a time."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from pdstudy.cli.arguments import positive_integer
from pdstudy.cli.machine_tables import Here
from pdstudy.config.placement import Execution
from pdstudy.launch.devices import Devices
from pdstudy.launch.gpus import Gpu, choose_gpus, find_gpus
from pdstudy.launch.local import processor_cores

WORKERS_HELP = "artifacts made at a time (default: the processor's cores, one thread each; with GPUs, one on each)"


def add_gpus(sub: argparse.ArgumentParser) -> None:
    """Add the options that choose GPUs; `machine_of` reads them."""
    sub.add_argument("--gpus", metavar="0,1,..", help="GPUs to use, as nvidia-smi numbers them (default: all)")
    sub.add_argument(
        "--per-gpu", type=positive_integer, default=1, metavar="N", help="small runs that share one GPU (default: 1)"
    )


def add_rules(sub: argparse.ArgumentParser) -> None:
    """Add the options that lay rules over those of a study; `machine_of` reads them."""
    sub.add_argument("--profile", metavar="NAME", help="a profile of pdstudy.toml (default: its `profile`)")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[STAGE.]FIELD=VALUE",
        help="over the profile, e.g. student.gpus=8",
    )


def machine_of(args: argparse.Namespace, executions: Sequence[Execution]) -> Here:
    """The GPUs and workers of this machine that the command line allows, with all rules for ranks: those of profile,
    study and command line.

    Raises `ConfigError` on GPUs that are not here and on faults of profiles.
    """
    from pdstudy.slurm.profiles import load_profile

    chosen = choose_gpus(gpus_here(), args.gpus)
    rules = load_profile(args.profile, args.set).rules(executions)
    workers = Devices(tuple(gpu.id for gpu in chosen), args.per_gpu).workers(args.workers, processor_cores())
    return Here(workers, chosen, args.per_gpu, rules)


@functools.cache
def gpus_here() -> tuple[Gpu, ...]:
    """`find_gpus`, once in a process."""
    return find_gpus()
