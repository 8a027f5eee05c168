"""Slips in slurm."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/slurm/stopping.py",
        "(int(days or 0) * 24 + hours) * 60",
        "(int(days or 0) + hours) * 60",
        "tests/slurm/test_stopping.py",
    ),
    Slip(
        "pdstudy/slurm/stopping.py",
        "return _parse_time(end) - now",
        "return now - _parse_time(end)",
        "tests/slurm/test_stopping.py",
    ),
    Slip(
        "pdstudy/slurm/stopping.py",
        'if "Unable to contact" not in done.stderr and "timed out" not in done.stderr:',
        'if "Unable to contact" not in done.stderr:',
        "tests/slurm/test_stopping.py",
    ),
    Slip(
        "pdstudy/slurm/reconcile.py",
        "(needed[job.key] or math.inf, -job.flops)",
        "(needed[job.key] or math.inf, job.flops)",
        "tests/slurm/test_arrays.py",
    ),
    Slip(
        "pdstudy/slurm/outcomes.py",
        '"node" if starts[number + 1]["job"] == start["job"] else "killed"',
        '"killed" if starts[number + 1]["job"] == start["job"] else "node"',
        "tests/slurm/test_reconcile.py",
    ),
    Slip(
        "pdstudy/slurm/arrays.py",
        "math.ceil(len(elements) / limits.array)",
        "len(elements) // limits.array + 1",
        "tests/slurm/test_arrays.py",
    ),
    Slip(
        "pdstudy/slurm/submit.py",
        "if len(array.elements) == 1 or refused.unanswered:",
        "if len(array.elements) == 1:",
        "tests/slurm/test_reconcile.py",
    ),
    Slip(
        "pdstudy/slurm/submit.py",
        "before.append(history.element)",
        "pass",
        "tests/slurm/test_arrays.py tests/slurm/test_commands.py tests/slurm/test_edited_study.py",
    ),
    Slip(
        "pdstudy/slurm/gc.py",
        "alive = queued is not None and queued.live",
        "alive = queued is not None",
        "tests/slurm/test_gc.py",
    ),
    Slip(
        "pdstudy/slurm/attempt.py",
        'f"{self.element}.{restart}.{time.time_ns()}"',
        'f"{self.element}.{restart}"',
        "tests/slurm/test_job_main.py",
    ),
    Slip(
        "pdstudy/slurm/job.py",
        "flops = artifact.flops * (b - a) / max(1, stop - first)",
        "flops = artifact.flops",
        "tests/slurm/test_job_main.py tests/slurm/test_commands.py",
    ),
    Slip(
        "pdstudy/slurm/cost.py",
        "unit.flops / rate / unit.execution.ranks / 3600",
        "unit.flops / rate / 3600",
        "tests/slurm/test_arrays.py tests/slurm/test_commands.py",
    ),
    Slip(
        "pdstudy/slurm/sbatch.py",
        "max(execution.cpus or 1, threads) * pack",
        "(execution.cpus or 1) * pack",
        "tests/slurm/test_sbatch.py",
    ),
    Slip(
        "pdstudy/slurm/profiles.py",
        'name = requested or table.get("profile") or name',
        'name = requested or name or table.get("profile")',
        "tests/slurm/test_profiles.py",
    ),
    Slip(
        "pdstudy/slurm/scheduler.py",
        "names = sorted({*users, getpass.getuser()})",
        "names = [getpass.getuser()]",
        "tests/slurm/test_commands.py tests/slurm/test_edited_study.py",
    ),
    Slip(
        "pdstudy/slurm/commands.py",
        "factor = MEMORY_FACTOR if ran_out[-1] else 1.0",
        "factor = MEMORY_FACTOR",
        "tests/slurm/test_commands.py",
    ),
)
