"""Studies that were edited after a submit, commands that run at once, and an sbatch that is not answered."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pdstudy.cli.slurm_tables import print_cluster, print_outcome
from pdstudy.core.claim import Claim, Claimed
from pdstudy.slurm import commands
from pdstudy.slurm.cluster_status import cluster_status
from pdstudy.slurm.commands import Request, cancel_study, submit_study
from pdstudy.slurm.sbatch import array_folder
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace
from tests.slurm.lab import Lab
from tests.slurm.small_slurm import Slurm, planned

KD = "*loss=KD*"


def edit(workspace: Workspace, **changes: Any) -> None:
    """The user changes the study's file."""
    Lab(workspace.root.parent, workspace.root.parent / "texts", None).write(**changes)


@pytest.mark.integration
def test_jobs_of_an_edited_study_are_counted_and_cancelled(
    workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that the study is now needs their runs: who only looked at those would leave them running."""
    submit_study(planned(workspace), workspace, Request())
    students = [e for e in slurm.states if e.partition("_")[0] in {slurm.job("student")}]
    before = {element for element, state in slurm.states.items() if state == "PENDING"}
    edit(workspace, steps=10)
    plan, outcome = submit_study(planned(workspace), workspace, Request())
    assert set(outcome.earlier) < before
    assert set(outcome.earlier) >= set(students)
    print_outcome(plan, outcome, "grid.py")
    wanted = f"{len(outcome.earlier)} jobs of an earlier declaration of this study are queued or running"
    assert f"{wanted}; `pdstudy cancel grid.py` ends them" in capsys.readouterr().out
    status = cluster_status(planned(workspace)(), workspace)
    assert status is not None
    assert status.earlier == outcome.earlier
    print_cluster(status)
    assert wanted in capsys.readouterr().out
    assert cancel_study(planned(workspace)(), workspace).earlier == outcome.earlier
    assert set(slurm.states.values()) == {"CANCELLED"}
    assert cancel_study(planned(workspace)(), workspace).earlier == ()
    edit(workspace)  # and back: what was cancelled is sent again
    sent = submit_study(planned(workspace), workspace, Request())[1].sent
    assert "student" in {array.stage for _, array in sent}


@pytest.mark.integration
def test_a_part_of_a_study_has_no_earlier_declaration(workspace: Workspace, slurm: Slurm) -> None:
    """The runs that a pattern leaves out are none that the study lost."""
    submit_study(planned(workspace), workspace, Request())
    assert submit_study(planned(workspace, KD), workspace, Request(only=KD))[1].earlier == ()
    assert cancel_study(planned(workspace, KD)(), workspace).earlier == ()
    assert "PENDING" in slurm.states.values()


@pytest.mark.integration
def test_an_earlier_declaration_of_somebody_else_is_theirs(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_study(planned(workspace), workspace, Request())
    edit(workspace, steps=10)
    monkeypatch.setattr(commands.getpass, "getuser", lambda: "somebody")
    assert submit_study(planned(workspace), workspace, Request())[1].earlier == ()


@pytest.mark.integration
def test_several_submits_at_once_wait_for_each_other(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told whom it waits for, and none sends what another has sent."""
    plan, arrays = planned(workspace)(), []
    take = Slurm.send

    def slowly(self: Slurm, *words: Any) -> str:
        time.sleep(0.05)
        return take(self, *words)

    monkeypatch.setattr(Slurm, "send", slowly)
    notes: list[str] = []
    held = Claim(workspace.root / "slurm" / "submit.claim", "sending").__enter__()
    with ThreadPoolExecutor(4) as threads:
        submits = [threads.submit(submit_study, lambda: plan, workspace, Request(), note=notes.append) for _ in "1234"]
        while len(notes) < 4 and not any(submit.done() for submit in submits):
            time.sleep(0.01)
        held.__exit__()
        arrays = [array for submit in submits for _, array in submit.result(timeout=60)[1].sent]
    assert f"(process {os.getpid()} on {socket.gethostname()}), who is sending from this workspace" in notes[0]
    sent = [key for array in arrays for element in array.keys for key in element]
    assert len(sent) == len(set(sent)) == 7


def test_who_waits_too_long_is_told_who_has_it(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdstudy.slurm.ledger.WAIT_SECONDS", 0.3)
    path = workspace.root / "slurm" / "submit.claim"
    with Claim(path, "sending"), pytest.raises(Claimed, match="sending to the cluster is in the hands of process"):
        submit_study(planned(workspace), workspace, Request())
    assert not slurm.sent


@pytest.mark.integration
def test_an_sbatch_that_was_not_answered_is_shown_as_such_until_it_is_known(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM took the jobs of the corpus, and its answer was lost; the queue shows them by their comment."""
    take = Slurm.send

    def unanswered(self: Slurm, *words: Any) -> str:
        array_folder(workspace, words[1]).mkdir(parents=True)  # where the next submit puts the pickles
        if taken:
            take(self, *words)
        raise Refused("Socket timed out on send/recv operation", limit=True, unanswered=True)

    monkeypatch.setattr(Slurm, "send", unanswered)
    for taken, state in ((False, "sent"), (True, "queued")):
        submit_study(planned(workspace), workspace, Request())
        status = cluster_status(planned(workspace)(), workspace)
        assert status is not None
        (row,) = (row for key, row in status.rows.items() if key.startswith("corpus"))
        assert row["state"] == state
        assert ("sbatch was not answered" in row["reason"]) is not taken
    monkeypatch.setattr(Slurm, "send", take)
    sent = submit_study(planned(workspace), workspace, Request())[1].sent
    assert "corpus" not in {array.stage for _, array in sent}
    assert slurm.stages().count("corpus") == 1
