"""`pdstudy gc`: what it lists, and that nothing is deleted that a job has taken up in between."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from pdstudy.core.claim import Claim, Claimed, lock_claims
from pdstudy.core.files import write_json
from pdstudy.slurm import gc
from pdstudy.slurm.commands import Request, submit_study
from pdstudy.slurm.gc import Waste, delete_waste, find_waste
from pdstudy.slurm.sbatch import array_folder
from pdstudy.slurm.scheduler import Queue, QueuedJob
from pdstudy.workspace.layout import Workspace
from tests.slurm.small_slurm import Slurm, fail, planned


@pytest.mark.integration
def test_gc_keeps_the_words_of_what_failed_and_waits_for_who_submits(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdstudy.slurm.ledger.WAIT_SECONDS", 0.3)
    submit_study(planned(workspace), workspace, Request())
    for array_id, _, _ in slurm.sent.values():
        array_folder(workspace, array_id).mkdir(parents=True)
    fail(workspace, slurm, "logits", "exception")
    fail(workspace, slurm, "report", "done")
    slurm.states = dict.fromkeys(slurm.states, "FAILED")
    code = workspace.root / "slurm" / "code"
    (report,) = (array_folder(workspace, a) for a, array, _ in slurm.sent.values() if array.stage == "report")
    assert {w.path for w in find_waste(workspace)} == {report, *code.iterdir()}
    path = workspace.root / "slurm" / "submit.claim"
    with Claim(path, "sending"), pytest.raises(Claimed, match="in the hands of"):
        delete_waste(workspace)
    assert report.exists()
    assert {w.path for w in delete_waste(workspace)} >= {report}
    assert not report.exists()


def claim_of_job(workspace: Workspace, name: str, element: str, token: str = "1") -> Path:
    """A claim that a job has written on another node."""
    path = workspace.root / "claims" / name
    write_json(path, {"host": "n1", "pid": 7, "born": "1", "job": element, "token": token})
    return path


@pytest.mark.integration
def test_claims_are_judged_by_one_look_at_the_queue(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    waiting, running = slurm.job("teacher"), slurm.job("corpus")
    slurm.states[running] = "RUNNING"
    kept = [claim_of_job(workspace, "run-a", waiting), claim_of_job(workspace, "corpus-b", running)]
    dead = {claim_of_job(workspace, f"run-{i}", f"98{i}") for i in range(20)}
    with Claim(workspace.root / "claims" / "logits-x", "a capture"):
        slurm.asked.clear()
        assert {w.path for w in find_waste(workspace)} == dead
        assert [words[0] for words in slurm.asked] == ["squeue"]
        delete_waste(workspace)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in dead)


def delete_while(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, take: object) -> list[Waste]:
    """What `delete_waste` deletes where `take` happens after it has found what to delete, under the claims' lock."""
    found = threading.Event()

    def find(workspace: Workspace) -> list[Waste]:
        waste = find_waste(workspace)
        found.set()
        return waste

    monkeypatch.setattr(gc, "find_waste", find)
    deleted: list[Waste] = []
    thread = threading.Thread(target=lambda: deleted.extend(delete_waste(workspace)))
    with lock_claims(workspace.root / "claims"):
        thread.start()
        assert found.wait(30)
        time.sleep(0.3)  # who deletes without the lock has done so by now
        take()  # type: ignore[operator]
    thread.join(30)
    return deleted


@pytest.mark.integration
def test_a_claim_that_was_taken_over_in_between_stays(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job would be fenced: it would find no claim of its own, and end."""
    submit_study(planned(workspace), workspace, Request())
    path, other = claim_of_job(workspace, "run-a", "991"), claim_of_job(workspace, "run-b", "992")
    deleted = delete_while(workspace, monkeypatch, lambda: claim_of_job(workspace, "run-a", "993", token="2"))
    assert [waste.path for waste in deleted] == [other]
    assert json.loads(path.read_text())["token"] == "2"
    assert not other.exists()


@pytest.mark.parametrize("inner", ["checkpoints", "again/checkpoints"])
def test_a_checkpoint_that_is_being_written_stays(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    folders = [workspace.root / "runs" / key / inner / ".step-00000010.1" for key in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "trainer.json").write_text("{}")
    with Claim(workspace.claim("student", "a"), "run a"):
        assert [waste.path for waste in find_waste(workspace)] == folders[1:]
        taken_up = workspace.claim("finetune", "b")  # a run is one thing, whatever it is trained for
        deleted = delete_while(workspace, monkeypatch, lambda: taken_up.write_text("{}"))
    assert [waste.path for waste in deleted] == folders[2:]
    assert [folder.exists() for folder in folders] == [True, True, False]
    assert not list(folders[2].parent.iterdir())


@pytest.mark.integration
def test_the_files_of_an_array_that_lives_stay(workspace: Workspace, slurm: Slurm) -> None:
    """Also where all that it was sent for is made: SLURM may start it again, and it then wants its pickles."""
    submit_study(planned(workspace), workspace, Request())
    for array_id, _, _ in slurm.sent.values():
        array_folder(workspace, array_id).mkdir(parents=True)
    fail(workspace, slurm, "report", "done")
    report = slurm.job("report")
    slurm.states[report] = "REQUEUED"
    assert find_waste(workspace) == []
    slurm.states[report] = "COMPLETED"
    assert [waste.path for waste in find_waste(workspace)] == [array_folder(workspace, slurm.sent[report][0])]


@pytest.mark.parametrize(("state", "dead"), [("RUNNING", False), ("PENDING", False), ("FAILED", True),
                                             ("COMPLETED", True), (None, True)])  # fmt: skip
def test_the_claim_of_a_job_is_dead_where_the_job_is_over(tmp_path: Path, state: str | None, dead: bool) -> None:
    """squeue shows jobs for some minutes after their end."""
    path = claim_of_job(Workspace(tmp_path), "run-a", "7")
    queue = Queue({"7": QueuedJob(state)} if state else {})
    assert [w.path for w in gc._find_dead_claims({path: path.read_bytes()}, queue)] == ([path] if dead else [])
