"""The real cluster: arrays sent through submitit, which writes the pickles and the sbatch text.

An array's folder, `slurm/arrays/<id>`, holds `tasks.jsonl` (a header, then a line per element with its tasks) and
submitit's files. A pickle holds the path of that file and an index, so nothing in it can go stale.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import write_bytes
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger, slurm_folder
from pdstudy.slurm.scheduler import COMMENT, Limits
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace

LIMIT = re.compile(r"SubmitJob|temporarily unable|Resource temporarily unavailable")
"""sbatch's words for a limit that passes."""


REASON = re.compile(r"(QOS|Assoc)[A-Z]\w+")
"""The name of a limit in sbatch's complaint, which ends with one sentence for all limits, submit limits among them."""


UNANSWERED = re.compile(r"timed out|Unable to contact|Connection refused|Zero Bytes were transmitted")
"""sbatch's words where the controller may or may not have taken the job."""


SHIELD = """/bin/sh -c 'trap "" USR2 TERM; exec "$@"' sh"""
"""A shell that ignores signals and starts Python, which a signal would end, and the job as failed, while it starts."""


SETUP_ENDED = "a setup line ended the job with exit code"
"""Beginning of what a job writes where a line of `setup` ends it."""


PATH_MARKS = "%\\:"
"""Characters that mean something in the paths that SLURM and PYTHONPATH take."""


Describe = Callable[[Job], dict[str, Any]]
"""A job's line in `tasks.jsonl`, as JSON."""


class Cluster:
    """`pdstudy.slurm.submit.Scheduler` on the SLURM of this machine."""

    def __init__(self, workspace: Workspace, study: str, describe: Describe, *, code: Path, threads: int) -> None:
        self._workspace = workspace
        self._study = study
        self._describe = describe
        self.code = code
        self._threads = threads

    def limits(self) -> Limits:
        return slurm.read_limits()

    def release(self, elements: Sequence[str]) -> None:
        slurm.release(elements)

    def send(self, array_id: str, array: Array, after: str) -> str:
        import submitit
        from submitit.core.utils import FailedJobError

        from pdstudy.slurm.job_main import work

        folder = array_folder(self._workspace, array_id)
        folder.mkdir(parents=True)
        tasks = folder / "tasks.jsonl"
        self._write_tasks(tasks, array)
        executor = submitit.SlurmExecutor(folder, python=make_python_command(array))
        executor.update_parameters(**make_parameters(array, array_id, after, self._study, self.code, self._threads))
        count = len(array.elements)
        try:
            with _hide_surrounding_job():
                if count == 1:
                    sent = [executor.submit(work, str(tasks), 0)]
                else:
                    sent = executor.map_array(work, [str(tasks)] * count, list(range(count)))
        except FailedJobError as error:
            complaint = str(error).strip()
            if UNANSWERED.search(complaint):
                raise Refused(complaint, limit=True, unanswered=True) from error
            shutil.rmtree(folder)
            raise Refused(_shorten(complaint), limit=is_passing_limit(complaint)) from error
        return str(sent[0].job_id).partition("_")[0]

    def _write_tasks(self, path: Path, array: Array) -> None:
        header = {
            "workspace": str(self._workspace.root),
            "cwd": str(Path.cwd()),
            "warning_seconds": array.execution.warning_seconds,
            "time_limits": array.execution.time_limits,
        }
        lines = [header, *([self._describe(job) for job in element] for element in array.elements)]
        write_bytes(path, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())


def finish_submission(workspace: Workspace, array_id: str, slurm_id: str, count: int) -> None:
    """Do what a process that died after sbatch left out: the pickles under the names that jobs look for."""
    from submitit.core.utils import DelayedSubmission, JobPaths

    from pdstudy.slurm.job_main import work

    folder = array_folder(workspace, array_id)
    for index in range(count):
        element = slurm_id if count == 1 else f"{slurm_id}_{index}"
        path = JobPaths(folder, element, 0).submitted_pickle
        if not path.exists():
            delayed = DelayedSubmission(work, str(folder / "tasks.jsonl"), index)
            delayed.set_timeout(1, 0)
            delayed.dump(path)


def is_passing_limit(complaint: str) -> bool:
    """Whether a later submit may be taken where sbatch has refused one with this complaint."""
    return bool(LIMIT.search(complaint)) or ("submit limit" in complaint and not REASON.search(complaint))


def array_folder(workspace: Workspace, array_id: str) -> Path:
    return slurm_folder(workspace) / "arrays" / array_id


def make_python_command(array: Array) -> str:
    container = f"{array.execution.container} " if array.execution.container else ""
    return f"{SHIELD} {container}{shlex.quote(sys.executable)}"


def make_parameters(array: Array, array_id: str, after: str, study: str, code: Path, threads: int) -> dict[str, Any]:
    """The parameters of submitit's executor for an array."""
    execution = array.execution
    pack = execution.pack or 1
    cpus = max(execution.cpus or 1, threads) * pack
    setup = [
        *_name_failing_line(execution.setup or ()),
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        "export " + " ".join(f"{library}_NUM_THREADS={threads}" for library in ("OMP", "MKL", "OPENBLAS")),
    ]
    found: dict[str, Any] = {
        "job_name": f"{study}-{array.stage}",
        "time": execution.minutes,
        "nodes": execution.nodes,
        "ntasks_per_node": execution.tasks_per_node,
        "cpus_per_task": cpus,
        "partition": execution.partition,
        "account": execution.account,
        "qos": execution.qos,
        "constraint": execution.constraint,
        "gpus_per_node": execution.gpus or None,
        "mem": f"{math.ceil(execution.memory_gb * 1024)}M" if execution.memory_gb else None,
        "signal_delay_s": execution.warning_seconds,
        "comment": COMMENT + array_id,
        "dependency": after or None,
        "setup": setup,
        "array_parallelism": array.parallelism or len(array.elements),
        # srun does not take sbatch's --cpus-per-task over in SLURM 22.05 to 23.02, and waits for ranks whose main one
        # has failed.
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, **({"kill-on-invalid-dep": "yes"} if after else {})},
    }
    # submitit's own wckey is refused where a site keeps a list of them.
    return {name: value for name, value in found.items() if value is not None} | {"wckey": None}


def _name_failing_line(setup: Sequence[str]) -> list[str]:
    """A user's setup lines, so that one that ends the job says so beside it: `exit` writes nothing by itself."""
    if not setup:
        return []
    trap = f"""trap 'echo "{SETUP_ENDED} $? in line: $pdstudy_line" >&2' EXIT"""
    lines = [part for line in setup for part in (f"pdstudy_line={shlex.quote(line)}", line)]
    # A trap that the user's own lines set stays.
    end = 'if [ "$(trap -p EXIT)" = "$pdstudy_trap" ]; then trap - EXIT; fi'
    return [trap, "pdstudy_trap=$(trap -p EXIT)", *lines, end]


def require_plain_path(workspace: Workspace) -> None:
    """Raises `ConfigError` where SLURM or a shell would take the workspace's path for something else."""
    found = next((c for c in str(workspace.root) if c in PATH_MARKS or not c.isprintable()), None)
    if found is not None:
        why = "SLURM expands it in names of files" if found in "%\\" else "it separates paths, or lines"
        raise ConfigError(
            f"workspace: found {str(workspace.root)!r}; allowed for jobs: a path without {found!r} ({why}); "
            f"move the workspace, or name another by --workspace"
        )


def render_sbatch(array: Array, after: str, study: str, workspace: Workspace, code: Path, threads: int) -> str:
    """The text that `Cluster.send` would give to sbatch, but for the array's id. Needs no SLURM on this machine."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = array_folder(workspace, "ID")
    command = f"{make_python_command(array)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    count = len(array.elements)
    return str(
        _make_sbatch_string(
            command=command,
            folder=folder,
            map_count=count if count > 1 else None,
            **make_parameters(array, "ID", after, study, code, threads),
        )
    )


def read_stderr_tail(workspace: Workspace, ledger: Ledger, array_id: str, index: int) -> str:
    """The end of what SLURM and submitit wrote beside a job (standard error)."""
    element = ledger.arrays[array_id].element(index)
    path = array_folder(workspace, array_id) / f"{element}_0_log.err"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _shorten(complaint: str) -> str:
    """sbatch's complaint without its repetitions."""
    lines = [line.removeprefix("sbatch: error: ") for line in complaint.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))


@contextlib.contextmanager
def _hide_surrounding_job() -> Iterator[None]:
    """Hide the surrounding job, if this is run inside one: its variables would shape the new one."""
    inside = "SLURM_JOB_ID" in os.environ
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if inside and name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)
