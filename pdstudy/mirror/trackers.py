"""Where runs are shown: a small class for each tool. All write to this machine unless the tool's own settings say else.

A study is a project (an experiment), a run's key its id there, its name in the study its name.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pdstudy.mirror.run_rows import MirroredRun, Row


class OpenRun(Protocol):
    """A run at a tracker. `log` has handed its rows over when it returns, `close` has the tool end the run."""

    def log(self, rows: Sequence[Row]) -> None: ...
    def close(self) -> None: ...


class Tracker(Protocol):
    """Opens runs of a project, new or gone on with; `sent` is the last training step that it has."""

    def open(self, run: MirroredRun, sent: int) -> OpenRun: ...

    @property
    def how_to_look(self) -> str: ...


class TrackerClass(Tracker, Protocol):
    """A tracker as it is made."""

    SETTINGS: str
    """What it is set up by, for the message where it refuses."""

    def __init__(self, project: str, folder: Path) -> None: ...


class TensorBoard:
    """Event files, a folder per run. What a kill left after the last note is purged where the run goes on."""

    SETTINGS = "the disk of the workspace's mirrors/tensorboard"

    def __init__(self, project: str, folder: Path) -> None:
        self._folder = folder / project

    @property
    def how_to_look(self) -> str:
        return f"tensorboard --logdir {self._folder}"

    def open(self, run: MirroredRun, sent: int) -> OpenRun:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / f"{run.name.replace('/', '-')}-{run.key}"
        writer: Any = SummaryWriter(str(folder), purge_step=sent + 1 if sent else None)
        if not sent:
            writer.add_text("config", f"```json\n{json.dumps(run.config(), indent=1)}\n```", 0)
        return _Events(writer)


class _Events:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name, value in row.values.items():
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases, offline unless WANDB_MODE says else; `wandb sync --append` uploads what is offline.

    A service of W&B's own writes behind `log`, and has written all when this process ends, but where it is killed too.

    A row is logged at its training step, of which W&B takes each once. Evaluations of earlier steps, trained once more,
    stand at the newest; the axis of all is `step`.
    """

    SETTINGS = "WANDB_MODE (offline by default), WANDB_BASE_URL and WANDB_API_KEY"

    def __init__(self, project: str, folder: Path) -> None:
        self._project, self._folder = project, folder

    @property
    def how_to_look(self) -> str:
        return f"wandb sync --append {self._folder / 'wandb'}/offline-run-*"

    def open(self, run: MirroredRun, sent: int) -> OpenRun:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        opened: Any = wandb.init(
            project=self._project, id=run.key, name=run.name, config=run.config(), dir=str(self._folder),
            resume="allow", reinit="create_new", mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )  # fmt: skip
        opened.define_metric("step")
        opened.define_metric("*", step_metric="step")
        return _WandBRun(opened, sent)


class _WandBRun:
    def __init__(self, opened: Any, sent: int) -> None:
        self._opened, self._step = opened, sent

    def log(self, rows: Sequence[Row]) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for row in rows:
            by_step.setdefault(row.step, {"step": row.step}).update(row.values)
        for step, values in by_step.items():
            self._step = max(self._step, step)
            self._opened.log(values, step=self._step)

    def close(self) -> None:
        self._opened.finish()


class Trackio:
    """Trackio's database on this machine (TRACKIO_DIR), or wherever its own settings say; `trackio show` shows it."""

    SETTINGS = "TRACKIO_DIR, TRACKIO_SPACE_ID and TRACKIO_SERVER_URL"

    def __init__(self, project: str, folder: Path) -> None:
        self._project = project

    @property
    def how_to_look(self) -> str:
        return f"trackio show --project {self._project}"

    def open(self, run: MirroredRun, sent: int) -> OpenRun:
        import trackio

        name = f"{run.name} {run.key}"
        opened: Any = trackio.init(
            project=self._project,
            name=name,
            config=run.config(),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return _TrackioRun(opened)


class _TrackioRun:
    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._opened.log(dict(row.values), step=row.step)

    def close(self) -> None:
        self._opened.finish()


class MLflow:
    """MLflow at MLFLOW_TRACKING_URI, else in files here. What a run has there already is left out."""

    SETTINGS = "MLFLOW_TRACKING_URI (files here where it is not set)"

    def __init__(self, project: str, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri()
        if self._uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_RETRIES)
        self._client: Any = MlflowClient(self._uri)
        found = self._client.get_experiment_by_name(project)
        self._experiment = found.experiment_id if found else self._client.create_experiment(project)

    @property
    def how_to_look(self) -> str:
        return f"mlflow ui --backend-store-uri {self._uri}"

    def open(self, run: MirroredRun, sent: int) -> OpenRun:
        found = self._client.search_runs([self._experiment], f"tags.key = '{run.key}'")
        if found:
            return _MLflowRun(self._client, found[0])
        made = self._client.create_run(self._experiment, run_name=run.name, tags={"key": run.key})
        for name, label in run.labels.items():
            self._client.log_param(made.info.run_id, re.sub(r"[^\w./-]", "_", name), label)  # letters that it takes
        self._client.log_dict(made.info.run_id, run.config(), "config.json")
        return _MLflowRun(self._client, made)


class _MLflowRun:
    def __init__(self, client: Any, run: Any) -> None:
        self._client, self._id = client, run.info.run_id
        self._there = {
            (name, each.step) for name in run.data.metrics for each in client.get_metric_history(self._id, name)
        }

    def log(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, row.step)
            for row in rows
            for name, value in row.values.items()
            if (name, row.step) not in self._there
        ]
        for first in range(0, len(metrics), MLFLOW_BATCH):
            self._client.log_batch(self._id, metrics=metrics[first : first + MLFLOW_BATCH])

    def close(self) -> None:
        self._client.set_terminated(self._id)


MLFLOW_RETRIES = "3"
"""Of a request that failed, where the user has not set a number: MLflow's own 7 take minutes until they say why."""

MLFLOW_BATCH = 1000
"""Metrics that MLflow takes in one call."""

TRACKERS: Mapping[str, type[TrackerClass]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
    "mlflow": MLflow,
}
"""Targets by the name of their package, which is that of pdstudy's extra."""
