"""A run to train, with all that training it needs: declared once, for worker, SLURM job and torchrun alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.placement import Placement
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.train.messages import from_json, message, to_json
from pdstudy.workspace.run_dir import RunDir
from pdstudy.workspace.store_index import holds


def never() -> bool:
    """Do not stop early."""
    return False


@message
class StoreToFill:
    """A logit store to write while a run trains: `sequences` of the run's text, absolute indices of the view's grid."""

    spec: StoreSpec
    coverage: Coverage
    sequences: range
    directory: Path


@message
class TrainingJob:
    """One run to bring to its end, with paths in the place of all that has to be opened.

    run          what to train
    directory    the run's folder
    corpus       the folder of its corpus
    store        the teacher's logits, where the run distils from stored ones
    evaluations  held-out evaluations, on the way and at the end
    placement    how the work is laid out on devices
    teacher      the model folder of a live teacher
    probed       model folders of the teachers that probes compare with, by the teacher's fingerprint
    start        the model folder whose weights the run begins with
    relatives    folders of runs that may begin alike: a new run starts from the latest checkpoint that it shares
    exports      steps (1-based) whose models others start from or evaluate
    online       stores to fill with the run's own distributions over the text that it learns from
    until        step to stop after, before the run's end
    models       folder for the models of `exports`; `directory`/models where it is not given
    claim        file that is held by whoever works at the run
    """

    run: Run
    directory: Path
    corpus: Path
    store: Path | None = None
    evaluations: tuple[Evaluation, ...] = ()
    placement: Placement = Placement()
    teacher: Path | None = None
    probed: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    start: Path | None = None
    relatives: tuple[Path, ...] = ()
    exports: tuple[int, ...] = ()
    online: tuple[StoreToFill, ...] = ()
    until: int | None = None
    models: Path | None = None
    claim: Path | None = None

    def write(self, path: Path) -> None:
        write_json(path, to_json(self))

    @staticmethod
    def read(path: Path) -> TrainingJob:
        """Raises `ConfigError` where the file is absent or holds something else."""
        job = from_json(read_json(path, "write it again with `pdstudy job`"))
        if not isinstance(job, TrainingJob):
            raise ConfigError(f"{path} is no training job; `pdstudy job STUDY PATTERN --out {path}` writes one")
        return job

    def missing_input(self) -> str | None:
        """The first thing that the job needs and the disk lacks, in words; None where all is there."""
        if not (self.corpus / "manifest.json").exists():
            return f"its corpus {self.corpus} is not there"
        if self.teacher is not None and (lacking := missing_model("teacher", self.teacher)):
            return lacking
        directory = RunDir(self.directory)
        if directory.missing_evaluations(self.evaluations):
            for folder in self.probed.values():
                if lacking := missing_model("probe's teacher", folder):
                    return lacking
        if directory.result() is not None:
            return None
        if self.store is not None:
            wanted = self.run.view.sequences(self.run.data)
            if not (self.store / "manifest.json").exists() or not holds(self.store, wanted):
                return f"its logits {self.store} are not all there"
        if self.start is not None and not self.start.exists():
            return (
                f"the model that it starts from, {self.start}, is not there: its run has not come so far, or diverged"
            )
        return None


def missing_model(what: str, folder: Path) -> str | None:
    """Why the model in `folder` cannot be read: it is not there, or is that of a run which has not ended well."""
    directory = RunDir(folder.parent)
    if folder.name == directory.model.name and "run" in (read_json(directory.path / "config.json") or {}):
        result = directory.result()
        if result is None or result["state"] != "done":
            return f"its {what} {directory.path} is {result['state'] if result else 'not finished'}"
        if not folder.exists():
            return (
                f"its {what} {folder} is not there, though its run has ended; delete {directory.path / 'result.json'} "
                f"and run again, which writes the model of the run's last checkpoint"
            )
    return None if folder.exists() else f"its {what} {folder} is not there"
