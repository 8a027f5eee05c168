"""The checkpoint that an attempt goes on from: the run's own newest one, or one of a run that began alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Run
from pdstudy.config.trajectory import lasting_steps, shared_steps
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, read_jsonl, write_json, write_jsonl
from pdstudy.core.identity import fingerprint
from pdstudy.core.run_files import find_damage, find_row_damage
from pdstudy.train.checkpoint import step_of
from pdstudy.train.rows import lost_rows
from pdstudy.train.training_job import TrainingJob
from pdstudy.workspace.run_dir import RunDir, list_checkpoints

ROW_FILES = ("metrics.jsonl", "evals.jsonl")
"""Files of a run's rows, which one that branches off takes over."""


def find_checkpoint(job: TrainingJob, directory: RunDir, limit: float) -> Path | None:
    """The run's newest checkpoint whose rows are all there, else one of a relative, whose rows become the run's own.

    `limit`: see `starting_point`. Raises `ConfigError` where the run has checkpoints, and none has its rows.
    """
    lost = None
    for path in reversed(list_checkpoints(directory.checkpoints)):
        if (lost := lost_rows(directory, path)) is None:
            return path
    if lost is not None:
        raise ConfigError(
            f"{lost} when its checkpoint was written, and no older checkpoint has its rows either; restore the file, "
            f"or move {directory.path} away to train the run again"
        )
    return _branch(job, directory, limit)


def _branch(job: TrainingJob, directory: RunDir, limit: float) -> Path | None:
    begun = (path for path in job.relatives if (path / "config.json").exists())
    relatives = (RunDir(path) for path in begun if not (find_damage(path) or find_row_damage(path, *ROW_FILES)))
    found = starting_point(job.run, relatives, limit)
    if found is None:
        return None
    relative, path = found
    step = step_of(path)
    wanted = {fingerprint(evaluation) for evaluation in job.evaluations}
    write_jsonl(directory.metrics_file, (r for r in read_jsonl(relative.metrics_file) if r["step"] <= step))
    evals = (r for r in read_jsonl(relative.evals_file) if r["step"] <= step and not r["final"])
    write_jsonl(directory.evals_file, (r for r in evals if r["eval"] in wanted))
    provenance_file = directory.path / "provenance.json"
    branch = {"branched_from": {"run": relative.key, "step": step}}
    write_json(provenance_file, {**read_json(provenance_file), **branch})
    return path


def starting_point(run: Run, relatives: Iterable[RunDir], limit: float = math.inf) -> tuple[RunDir, Path] | None:
    """The latest checkpoint of `relatives` whose steps `run` shares, and which is not deleted as its owner goes on.

    `limit`: steps after which the run has something of its own to write. The run itself may be among `relatives`, held
    by this process: all its checkpoints stay.
    """
    found: list[tuple[int, RunDir, Path]] = []
    for relative in relatives:
        theirs = relative.config()
        shared = shared_steps(run, theirs)
        stays = {*lasting_steps(theirs), theirs.num_steps if relative.result() else 0}
        found += [
            (step_of(path), relative, path)
            for path in list_checkpoints(relative.checkpoints)
            if (step_of(path) in stays or theirs == normal_form(run))
            and step_of(path) <= min(shared, limit)
            and lost_rows(relative, path) is None
        ]
    if not found:
        return None
    _, relative, path = max(found, key=lambda item: item[0])
    return relative, path
