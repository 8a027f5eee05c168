"""Slips in launch and cli."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/launch/local.py",
        "key=lambda i: -i.flops",
        "key=lambda i: i.flops",
        "tests/launch/test_worker_channel.py -k largest_that",
    ),
    Slip(
        "pdstudy/launch/local.py",
        "self.finished.issuperset(artifact.needs) and not any(map(self._may_come, artifact.after))",
        "self.finished.issuperset(artifact.needs)",
        "tests/launch/test_worker_channel.py -k may_start_from",
    ),
    Slip("pdstudy/launch/worker.py", "stop.clear()", "pass", "tests/launch/test_worker_orders.py"),
    Slip(
        "pdstudy/launch/worker.py",
        "elif not isinstance(error, DamagedRun):",
        "else:",
        "tests/launch/test_worker_orders.py",
    ),
    Slip("pdstudy/launch/devices.py", "kept.update(chosen)", "pass", "tests/launch/test_devices.py"),
    Slip(
        "pdstudy/launch/devices.py",
        "busy[each] += 1 if count == 1 else per_device",
        "busy[each] += 1",
        "tests/launch/test_devices.py",
    ),
    Slip(
        "pdstudy/launch/schedule.py",
        "plan.seconds(todo[entry[1]].flops) / max(1, len(given))",
        "plan.seconds(todo[entry[1]].flops)",
        "tests/launch/test_devices.py",
    ),
    Slip(
        "pdstudy/launch/smoke_test.py",
        "half = steps * run.tokens_per_step // 2",
        "half = steps * run.tokens_per_step",
        "tests/study/test_refusals.py",
    ),
    Slip(
        "pdstudy/launch/work_order.py",
        'relatives=tuple(workspace.root / "runs" / key for key in artifact.after),',
        "",
        "tests/launch/test_worker_channel.py",
    ),
    Slip(
        "pdstudy/cli/progress.py",
        "self.elapsed * (1 - share) / share",
        "self.elapsed / share",
        "tests/cli/test_progress.py",
    ),
    Slip(
        "pdstudy/cli/status_commands.py",
        "lines[-args.n :]",
        "lines[: args.n]",
        "tests/cli/test_failures.py",
    ),
)
