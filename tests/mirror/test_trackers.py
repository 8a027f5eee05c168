"""What is mirrored is what the tools' own readers find: every row once, over stops, kills and rows taken back."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdstudy.cli.main import main
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import append_jsonl, truncate_jsonl, write_json
from pdstudy.mirror import TRACKERS, Follower, MirroredRun, make_tracker
from pdstudy.mirror.run_rows import SentRows, new_rows
from pdstudy.mirror.trackers import MLflow

Points = dict[str, list[tuple[int, float]]]
"""Values by step of each name."""


class Growing:
    """A run whose rows are written bit by bit: losses of steps, and an evaluation of every fifth on two splits."""

    def __init__(self, root: Path, key: str = "0123456789abcdef") -> None:
        self.folder = root / "runs" / key
        self.folder.mkdir(parents=True)
        write_json(self.folder / "config.json", {"schema": 1, "run": {"is": "Run", "steps": 20}})

    @property
    def run(self) -> MirroredRun:
        return MirroredRun(self.folder, "loss=KD,seed=0", {"loss": "KD", "seed": "0"})

    def train(self, first: int, last: int, *, evaluated: bool = True) -> None:
        for step in range(first, last + 1):
            append_jsonl(self.folder / "metrics.jsonl", {"step": step, "tokens": 256 * step, "loss": 6 - step / 16})
            if step % 5 == 0 and evaluated:
                self.evaluate(step)

    def evaluate(self, step: int, *, split: str = "validation", key: str = "aaaaaaaa11") -> None:
        row = {"step": step, "eval": key, "split": split, "slice": [0, 512], "loss": 5 - step / 32, "final": step == 20}
        append_jsonl(self.folder / "evals.jsonl", row)

    def end(self) -> None:
        write_json(self.folder / "result.json", {"state": "done"})


def tensorboard_points(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (folder / "study").iterdir()
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


WANDB_BLOCK = 32768
"""Bytes of a block of W&B's offline files, which are logs as LevelDB writes them behind a header of seven bytes."""


def wandb_records(path: Path) -> Iterator[bytes]:
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if WANDB_BLOCK - at % WANDB_BLOCK < 7:
            at += WANDB_BLOCK - at % WANDB_BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def wandb_points(folder: Path) -> Points:
    """The rows of the offline files in the order of `wandb sync`, each step once, as W&B takes them."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as at the end of a process: its service writes behind the run
    found: Points = {}
    last = -1
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for data in wandb_records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") != "history" or record.history.step.num <= last:
                continue
            last = record.history.step.num
            values = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            for name, value in values.items():
                if "/" in name:
                    found.setdefault(name, []).append((values["step"], value))
    return found


def mlflow_points(folder: Path) -> Points:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(folder.resolve().as_uri())
    experiment = client.get_experiment_by_name("study")
    (run,) = client.search_runs([experiment.experiment_id])
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((m.step, m.value) for m in history) for name, history in histories.items()}


def trackio_points(folder: Path) -> Points:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("study")
    found: Points = {}
    for row in SQLiteStorage.get_logs("study", name):
        for key, value in row.items():
            if "/" in key:
                found.setdefault(key, []).append((row["step"], value))
    return found


READERS: dict[str, Callable[[Path], Points]] = {
    "tensorboard": tensorboard_points, "wandb": wandb_points, "mlflow": mlflow_points, "trackio": trackio_points
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRACKERS))
def test_each_row_is_there_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read at the import
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'pdstudy[{name}]'")
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    growing, folder, notes = Growing(tmp_path), tmp_path / "mirror", tmp_path / "sent"

    def look() -> int:
        follower = Follower(make_tracker(name, "study", folder), [growing.run], notes)
        try:
            return follower.look()
        finally:
            follower.close()

    growing.train(1, 7)
    assert look() == 7 + 1
    assert look() == 0
    truncate_jsonl(growing.folder / "metrics.jsonl", 6)  # interrupted, it goes on from the checkpoint of step 6
    growing.train(7, 12)
    growing.evaluate(15)  # its training row is not there yet
    before = SentRows.read(notes / f"{growing.folder.name}.json")
    assert look() == 5 + 1
    if name in ("tensorboard", "wandb", "mlflow"):  # killed between rows and note: the rows are sent again
        before.write(notes / f"{growing.folder.name}.json")
        assert look() == 5 + 1
    growing.train(13, 20, evaluated=False)
    growing.evaluate(20)
    growing.evaluate(20, split="test", key="bbbbbbbb22")
    growing.end()
    assert look() == 8 + 3
    found = READERS[name](folder)
    expected: dict[str, Any] = {
        "train/loss": [(step, 6 - step / 16) for step in range(1, 21)],
        "train/tokens": [(step, 256 * step) for step in range(1, 21)],
        "validation/loss": [(step, 5 - step / 32) for step in (5, 10, 15, 20)],
        "test/loss": [(20, 5 - 20 / 32)],
    }
    assert found == expected


def test_evaluations_wait_for_the_training_row_before_them(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.evaluate(5)
    assert new_rows(growing.run, SentRows()) == []
    growing.train(1, 4)
    assert [row.id for row in new_rows(growing.run, SentRows())] == [f"train@{step}" for step in (1, 2, 3, 4)]
    growing.train(5, 6, evaluated=False)
    rows = new_rows(growing.run, SentRows(step=4))
    assert [row.id for row in rows] == ["train@5", "validation@5", "train@6"]
    assert rows[1].values == {"validation/loss": 5 - 5 / 32}
    assert all(math.isfinite(value) for row in rows for value in row.values.values())


def test_two_evaluations_of_a_split_have_names_of_their_own(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.train(1, 1)
    growing.evaluate(1)
    growing.evaluate(1, key="cccccccc33")
    assert [row.name for row in new_rows(growing.run, SentRows())] == ["train", "validation", "validation-cccccccc"]


def test_following_ends_with_the_last_run(tmp_path: Path) -> None:
    growing, sent = Growing(tmp_path), list[str]()

    class Kept:
        how_to_look = ""

        def open(self, run: MirroredRun, at: int) -> Kept:
            sent.append(f"open {run.key[:4]} at {at}")
            return self

        def log(self, rows: Any) -> None:
            sent.extend(row.id for row in rows)

        def close(self) -> None:
            sent.append("close")

    growing.train(1, 2)
    follower = Follower(Kept(), [growing.run], tmp_path / "sent")  # type: ignore[arg-type]

    def note(text: str) -> None:
        if not growing.run.ended():
            growing.train(3, 3)
            growing.end()

    follower.follow(note, seconds=0.0)
    assert sent == ["open 0123 at 0", "train@1", "train@2", "train@3", "close"]


def test_a_run_that_has_ended_is_read_once(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.train(1, 2)
    growing.end()

    class Nowhere:
        how_to_look = ""

        def open(self, run: MirroredRun, at: int) -> Nowhere:
            return self

        def log(self, rows: Any) -> None: ...
        def close(self) -> None: ...

    follower = Follower(Nowhere(), [growing.run], tmp_path / "sent")  # type: ignore[arg-type]
    assert follower.look() == 2
    (growing.run.folder / "metrics.jsonl").write_text("damaged\n{}\n")
    assert follower.look() == 0


def test_labels_of_odd_axes_are_parameters_of_mlflow(tmp_path: Path) -> None:
    names = list[str]()
    made = SimpleNamespace(info=SimpleNamespace(run_id="1"), data=SimpleNamespace(metrics={}))
    tracker = object.__new__(MLflow)
    tracker._experiment = "0"
    tracker._client = SimpleNamespace(
        search_runs=lambda *given: [], create_run=lambda *given, **more: made, log_dict=lambda *given: None,
        log_param=lambda run, name, value: names.append(name),
    )  # fmt: skip
    tracker.open(MirroredRun(tmp_path, "a", {"peak lr (k=50)": "1", "a/b-c.d": "2"}), 0)
    assert names == ["peak_lr__k_50_", "a/b-c.d"]


def test_an_absent_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--to wandb: .* pip install 'pdstudy\[wandb\]'"):
        make_tracker("wandb", "study", tmp_path)


def test_what_a_tracker_refuses_is_one_line_and_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker whose server goes away after three rows, and comes back."""
    there, answers = list[str](), True

    class Remote:
        SETTINGS = "REMOTE_URI"
        how_to_look = ""

        def __init__(self, project: str, folder: Path) -> None: ...

        def open(self, run: MirroredRun, sent: int) -> Remote:
            return self

        def log(self, rows: Any) -> None:
            if not answers:
                raise RuntimeError("API request failed:\n  HTTPConnectionPool" + "!" * 500)
            there.extend(row.id for row in rows)

        def close(self) -> None: ...

    monkeypatch.setitem(TRACKERS, "remote", Remote)  # type: ignore[misc]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    growing, notes = Growing(tmp_path), tmp_path / "sent"
    follower = Follower(make_tracker("remote", "study", tmp_path), [growing.run], notes)
    growing.train(1, 3)
    assert follower.look() == 3
    growing.train(4, 5)
    answers = False
    with pytest.raises(ConfigError) as refused:
        follower.look()
    said = str(refused.value)
    assert said.startswith("--to remote: found RuntimeError: API request failed: HTTPConnectionPool!!!")
    assert said.endswith("...; see to REMOTE_URI, then mirror again: it goes on from the rows that were sent")
    assert "\n" not in said
    assert len(said) < 400
    answers = True
    assert Follower(make_tracker("remote", "study", tmp_path), [growing.run], notes).look() == 3
    assert there == [f"train@{step}" for step in range(1, 6)] + ["validation@5"]


@pytest.mark.slow
def test_an_address_where_nothing_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'pdstudy[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match=r"--to mlflow: found MlflowException: .*127\.0\.0\.1:9.*MLFLOW_TRACKING_URI"):
        make_tracker("mlflow", "study", tmp_path)


def test_a_study_without_runs_names_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["new", "mine"], ["mirror", "mine", "--to", "tensorboard"]):
        with pytest.raises(SystemExit):
            main(words)
    shown = capsys.readouterr().err
    assert "has no runs to mirror yet: found 0 of " in shown
    assert "begin some: pdstudy run mine\n" in shown
