"""The real cluster: arrays sent through submitit, which writes the pickles and the sbatch text.

An array's folder, `slurm/arrays/<id>`, holds `tasks.jsonl` (a header, then a line per element: what its units are) and
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
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pdstudy.core.files import write_bytes
from pdstudy.slurm import scheduler as slurm
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger, slurm_folder
from pdstudy.slurm.scheduler import COMMENT, Limits
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace

LIMIT = re.compile(r"SubmitJob|temporarily unable|Resource temporarily unavailable")
"""sbatch's words for limits that pass."""


REASON = re.compile(r"(QOS|Assoc)[A-Z]\w+")
"""A limit by its name; sbatch adds one sentence to whichever it is, which speaks of submit limits among others."""


UNANSWERED = re.compile(r"timed out|Unable to contact|Connection refused|Zero Bytes were transmitted")
"""sbatch's words when the controller may or may not have taken the job."""


SHIELD = """/bin/sh -c 'trap "" USR2 TERM; exec "$@"' sh"""
"""A signal that comes while Python starts would end it, and with it the job, as failed. Ignored, SLURM requeues."""


Describe = Callable[[Job], dict[str, Any]]
"""What a job must know to make a unit, as JSON."""


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
        executor = submitit.SlurmExecutor(folder, python=python_command(array))
        executor.update_parameters(**parameters(array, array_id, after, self._study, self.code, self._threads))
        count = len(array.elements)
        try:
            with _outside_a_job():
                if count == 1:
                    jobs = [executor.submit(work, str(tasks), 0)]
                else:
                    jobs = executor.map_array(work, [str(tasks)] * count, list(range(count)))
        except FailedJobError as error:
            words = str(error).strip()
            if UNANSWERED.search(words):
                raise Refused(words, limit=True, unanswered=True) from error
            shutil.rmtree(folder)
            raise Refused(_short(words), limit=passes(words)) from error
        return str(jobs[0].job_id).partition("_")[0]

    def _write_tasks(self, path: Path, array: Array) -> None:
        header = {
            "workspace": str(self._workspace.root),
            "cwd": str(Path.cwd()),
            "warning_seconds": array.execution.warning_seconds,
            "time_limits": array.execution.time_limits,
            "sent": time.time(),
        }
        lines = [header, *([self._describe(unit) for unit in element] for element in array.elements)]
        write_bytes(path, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())


def finish_submission(workspace: Workspace, array_id: str, job: str, count: int) -> None:
    """Do what a process that died after sbatch left out: the pickles under the names that jobs look for."""
    from submitit.core.utils import DelayedSubmission, JobPaths

    from pdstudy.slurm.job_main import work

    folder = array_folder(workspace, array_id)
    for index in range(count):
        element = job if count == 1 else f"{job}_{index}"
        path = JobPaths(folder, element, 0).submitted_pickle
        if not path.exists():
            delayed = DelayedSubmission(work, str(folder / "tasks.jsonl"), index)
            delayed.set_timeout(1, 0)
            delayed.dump(path)


def passes(words: str) -> bool:
    """Whether a later submit may be taken where sbatch has refused one with these words."""
    return bool(LIMIT.search(words)) or ("submit limit" in words and not REASON.search(words))


def array_folder(workspace: Workspace, array_id: str) -> Path:
    return slurm_folder(workspace) / "arrays" / array_id


def python_command(array: Array) -> str:
    container = f"{array.execution.container} " if array.execution.container else ""
    return f"{SHIELD} {container}{shlex.quote(sys.executable)}"


def parameters(array: Array, array_id: str, after: str, study: str, code: Path, threads: int) -> dict[str, Any]:
    """submitit's parameters for an array."""
    execution = array.execution
    pack = execution.pack or 1
    cpus = max(execution.cpus or 1, threads) * pack
    setup = [
        *(execution.setup or ()),
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        "export " + " ".join(f"{library}_NUM_THREADS={threads}" for library in ("OMP", "MKL", "OPENBLAS")),
    ]
    said: dict[str, Any] = {
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
    return {name: value for name, value in said.items() if value is not None} | {"wckey": None}


def sbatch_text(array: Array, after: str, study: str, workspace: Workspace, code: Path, threads: int) -> str:
    """What `send` would give to sbatch, but for the array's id. Needs no SLURM on this machine."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = array_folder(workspace, "ID")
    command = f"{python_command(array)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    count = len(array.elements)
    return str(
        _make_sbatch_string(
            command=command,
            folder=folder,
            map_count=count if count > 1 else None,
            **parameters(array, "ID", after, study, code, threads),
        )
    )


def last_words(workspace: Workspace, ledger: Ledger, array_id: str, index: int) -> str:
    """The end of what SLURM and submitit wrote beside a job (standard error)."""
    element = ledger.arrays[array_id].element(index)
    path = array_folder(workspace, array_id) / f"{element}_0_log.err"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _short(words: str) -> str:
    """sbatch's complaint without its repetitions."""
    lines = [line.removeprefix("sbatch: error: ") for line in words.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))


@contextlib.contextmanager
def _outside_a_job() -> Iterator[None]:
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
