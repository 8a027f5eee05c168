"""`submit`, `cancel` and `status` over a scheduler of a few lines: what takes a real one minutes to bring about."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pdstudy.cli.main import main
from pdstudy.cli.slurm_tables import print_outcome, print_preview
from pdstudy.core import slurm_command
from pdstudy.core.claim import Claim, Claimed
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import checked_plan
from pdstudy.plan.plan import Plan
from pdstudy.slurm import cluster_status as seeing
from pdstudy.slurm import commands
from pdstudy.slurm import gc as cleaning
from pdstudy.slurm import scheduler as queue
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.attempt import attempts_file
from pdstudy.slurm.commands import Request, cancel_study, drop_shared, preview, submit_study, top_up
from pdstudy.slurm.ledger import Ledger, append_row
from pdstudy.slurm.sbatch import Cluster, array_folder
from pdstudy.slurm.submit import Refused
from pdstudy.workspace.layout import Workspace
from tests.slurm.lab import Lab

KD = "*loss=KD*"


class Slurm:
    """Takes arrays (`room`: jobs that it still takes), shows and cancels them, and runs none."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.sent: dict[str, tuple[str, Array, str]] = {}
        self.room = 1_000
        self.broken: set[str] = set()

    def send(self, cluster: Cluster, array_id: str, array: Array, after: str) -> str:
        if len(array.elements) > self.room:
            raise Refused("QOSMaxSubmitJobPerUserLimit", limit=True)
        self.room -= len(array.elements)
        job = str(len(self.sent) + 1)
        self.sent[job] = (array_id, array, after)
        count = len(array.elements)
        self.states.update({job: "PENDING"} if count == 1 else {f"{job}_{i}": "PENDING" for i in range(count)})
        return job

    def ask(self, *words: str) -> str:
        if words[0] in self.broken:
            raise subprocess.CalledProcessError(1, words, "", f"{words[0]}: error: Unable to contact slurm controller")
        if words[0] == "scancel":
            for name in words[1:]:
                self.states.update({e: "CANCELLED" for e in self.states if name in (e, e.partition("_")[0])})
        if words[:2] == ("scontrol", "release"):
            for name in words[2].split(","):
                del self.reasons[name]
        if words[0] != "squeue":
            return "MaxArraySize = 1001\n"
        rows = [
            f"{e}|{s}||{self.reasons.get(e, 'None')}|pdstudy {self.sent[e.partition('_')[0]][0]}"
            for e, s in self.states.items()
        ]
        return "\n".join([*rows, "999|PENDING||None|a comment of somebody's", "on two lines", ""])

    def stages(self) -> list[str]:
        return [array.stage for _, array, _ in self.sent.values()]

    def job(self, stage: str) -> str:
        return next(job for job, (_, array, _) in self.sent.items() if array.stage == stage)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    made = Slurm()
    monkeypatch.setattr(slurm_command, "ask", made.ask)
    monkeypatch.setattr(queue, "require_slurm", lambda: None)
    monkeypatch.setattr(queue, "available", lambda: True)
    monkeypatch.setattr(Cluster, "send", lambda cluster, *words: made.send(cluster, *words))
    return made


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text\n")
    Lab(tmp_path, tmp_path / "texts", None).write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return Workspace(tmp_path / "workspace")


def planned(workspace: Workspace, only: str | None = None, name: str = "grid") -> Callable[[], Plan]:
    def plan() -> Plan:
        made = checked_plan("grid.py", None, workspace, only)
        return dataclasses.replace(made, study=dataclasses.replace(made.study, name=name))

    return plan


def fail(workspace: Workspace, slurm: Slurm, stage: str, cause: str, at: float = 0.0, **more: object) -> str:
    """The job of a stage has started and ended by `cause`, as its node notes; its key."""
    slurm_id = slurm.job(stage)
    key = slurm.sent[slurm_id][1].keys[0][0]
    element = next(e for e in slurm.states if e.partition("_")[0] == slurm_id)
    slurm.states[element] = "FAILED"
    file = attempts_file(workspace, key)
    append_row(file, {"event": "start", "job": element, "token": element, "time": at})
    append_row(file, {"event": "end", "token": element, "cause": cause, "error": cause, "time": at, **more})
    return key


HELD = "launch failed requeued held"


def with_teacher_made(workspace: Workspace) -> Callable[[], Plan]:
    def plan() -> Plan:
        made = planned(workspace)()
        return dataclasses.replace(
            made, artifacts=tuple(dataclasses.replace(i, done=i.kind in ("corpus", "teacher")) for i in made.artifacts)
        )

    return plan


def test_a_held_job_whose_work_is_done_is_shown_and_released(
    workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """SLURM started it again, did not hear that all was made, and could not launch it: the report waits for it."""
    submit_study(planned(workspace), workspace, Request())
    job = slurm.job("teacher")
    slurm.reasons = {job: HELD, slurm.job("report"): "JobHeldUser"}
    made = with_teacher_made(workspace)
    sight = seeing.cluster_status(made(), workspace)
    assert sight is not None
    assert sight.held == (job,)
    _, outcome = submit_study(made, workspace, Request())
    assert outcome.released == (job,)
    assert list(slurm.reasons) == [slurm.job("report")]  # what a person held stays held
    print_outcome(made(), outcome, "grid.py")
    assert f"released {job}, which SLURM held" in capsys.readouterr().out
    assert submit_study(made, workspace, Request())[1].released == ()


def test_a_held_job_of_another_user_is_theirs_to_release(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_study(planned(workspace), workspace, Request())
    slurm.reasons = {slurm.job("teacher"): HELD}
    monkeypatch.setattr(commands.getpass, "getuser", lambda: "somebody")
    assert submit_study(with_teacher_made(workspace), workspace, Request())[1].released == ()


def test_a_held_job_whose_work_is_done_is_cancelled_too(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    slurm.reasons = {slurm.job("teacher"): HELD}
    cancel_study(with_teacher_made(workspace)(), workspace)
    assert slurm.states[slurm.job("teacher")] == "CANCELLED"


def test_what_ran_out_of_memory_holds_nothing_else_back(workspace: Workspace, slurm: Slurm) -> None:
    """Its job has no memory_gb, so none can be doubled: the user hears of it where the job is tried again."""
    submit_study(planned(workspace), workspace, Request())
    teacher = fail(workspace, slurm, "teacher", "oom")
    assert submit_study(planned(workspace), workspace, Request())[1].decision.stay == {teacher: "oom"}
    retry = Request(retry=("oom",))
    with pytest.raises(ConfigError, match=r"its job has no memory_gb: set it, e\.g\. --set teacher.memory_gb=16"):
        submit_study(planned(workspace), workspace, retry)
    sent = submit_study(planned(workspace), workspace, Request(settings=("teacher.memory_gb=16",)))[1].sent
    assert [(a.stage, a.execution.memory_gb) for _, a in sent if a.stage == "teacher"] == [("teacher", 16)]


def test_a_device_out_of_memory_asks_for_no_more_of_the_hosts(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request(settings=("memory_gb=8",)))
    fail(workspace, slurm, "teacher", "oom", device=True)
    again = Request(settings=("memory_gb=8",), retry=("oom",))
    (array,) = (a for _, a in submit_study(planned(workspace), workspace, again)[1].sent if a.stage == "teacher")
    assert array.execution.memory_gb == 8


def test_a_dry_run_shows_what_a_retry_would_send(workspace: Workspace, slurm: Slurm) -> None:
    asked = Request(settings=("memory_gb=8",))
    submit_study(planned(workspace), workspace, asked)
    fail(workspace, slurm, "teacher", "oom")
    ledger = (workspace.root / "slurm" / "ledger.jsonl").read_bytes()

    def texts(request: Request) -> dict[str, str]:
        return {array.stage: text for array, text in preview(planned(workspace)(), workspace, request)[1]}

    assert "teacher" not in texts(asked)
    assert "#SBATCH --mem=16384M" in texts(dataclasses.replace(asked, retry=("oom",)))["teacher"]
    assert (workspace.root / "slurm" / "ledger.jsonl").read_bytes() == ledger


def test_a_node_whose_clock_is_ahead_does_not_outlive_a_retry(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    teacher = fail(workspace, slurm, "teacher", "exception", at=4e9)
    sent = submit_study(planned(workspace), workspace, Request(retry=("exception",)))[1].sent
    assert teacher in [key for _, array in sent for element in array.keys for key in element]


def test_what_is_cancelled_is_not_kept_back_any_more(workspace: Workspace, slurm: Slurm) -> None:
    """Or a watch in another shell would send it as soon as there is room."""
    slurm.room = 4
    outcome = submit_study(planned(workspace), workspace, Request())[1]
    assert outcome.kept
    slurm.room = 1_000
    cancelled, _ = cancel_study(planned(workspace)(), workspace)
    assert len(cancelled) == 4
    assert set(slurm.states.values()) == {"CANCELLED"}
    assert top_up(planned(workspace), workspace, "grid") is None


def test_cancelling_some_cells_leaves_what_others_need(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    plan = drop_shared(planned(workspace, "*loss=KD*seed=0*")(), planned(workspace)())
    cancelled, _ = cancel_study(plan, workspace)
    assert [key.partition("/")[0] for key in cancelled] == ["student"]
    plan = drop_shared(planned(workspace, KD)(), planned(workspace)())
    cancelled, _ = cancel_study(plan, workspace)
    assert {key.partition("/")[0] for key in cancelled} == {"teacher", "logits", "student"}
    living = {e.partition("_")[0] for e, state in slurm.states.items() if state == "PENDING"}
    assert {slurm.sent[job][1].stage for job in living} == {"corpus", "student", "report"}


def test_cancelling_finds_what_a_submit_that_died_has_sent(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[str] = []
    monkeypatch.setattr(commands, "finish_submission", lambda workspace, array, job, count: finished.append(job))
    submit_study(planned(workspace), workspace, Request())
    path = workspace.root / "slurm" / "ledger.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"job":"1"' not in line))
    cancel_study(planned(workspace)(), workspace)
    assert finished == ["1"]
    assert set(slurm.states.values()) == {"CANCELLED"}


def test_a_submit_of_some_cells_forgets_nothing_that_is_kept_back(workspace: Workspace, slurm: Slurm) -> None:
    slurm.room = 4
    kept = submit_study(planned(workspace), workspace, Request(settings=("minutes=7",)))[1].kept
    lm = submit_study(planned(workspace, "*loss=LM*"), workspace, Request(only="*loss=LM*"))[1]
    assert not lm.sent
    left = Ledger.of(workspace).kept["grid"]
    assert set(left["units"]) == set(kept)
    slurm.room = 1_000
    sent = top_up(planned(workspace), workspace, "grid")
    assert sent is not None
    assert {a.execution.minutes for _, a in sent.sent} == {7}
    assert Ledger.of(workspace).kept["grid"]["units"] == []


def test_a_study_whose_runs_others_have_sent_has_a_report_of_its_own(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    outcome = submit_study(planned(workspace, name="other"), workspace, Request())[1]
    assert (outcome.sent, len(outcome.decision.live)) == ([], 7)
    assert outcome.report is not None
    assert slurm.sent[outcome.report][2] == "afterany:1:2:3:4:5"
    assert submit_study(planned(workspace, name="other"), workspace, Request())[1].report is None


@pytest.mark.parametrize("tool", ["squeue", "scancel", "scontrol"])
def test_a_controller_that_does_not_answer_is_one_line(workspace: Workspace, slurm: Slurm, tool: str) -> None:
    if tool == "scancel":
        submit_study(planned(workspace), workspace, Request())
    slurm.broken.add(tool)
    plan = planned(workspace)()
    with pytest.raises(queue.Unanswered, match=f"does not answer|{tool} failed: {tool}: error: Unable to contact"):
        cancel_study(plan, workspace) if tool == "scancel" else submit_study(lambda: plan, workspace, Request())


def test_without_squeue_status_tells_what_the_files_say(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_study(planned(workspace), workspace, Request())
    teacher = fail(workspace, slurm, "teacher", "exception")
    monkeypatch.setattr(queue, "available", lambda: False)
    sight = seeing.cluster_status(planned(workspace)(), workspace)
    assert sight is not None
    assert not sight.answered
    assert (sight.rows[teacher]["state"], sight.rows[teacher]["error"]) == ("failed", "exception")
    assert {row["state"] for key, row in sight.rows.items() if key != teacher} == {"sent"}


def test_logs_have_what_slurm_wrote_beside_a_job(
    workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    submit_study(planned(workspace), workspace, Request())
    job = slurm.job("teacher")
    folder = array_folder(workspace, slurm.sent[job][0])
    folder.mkdir(parents=True)
    (folder / f"{job}_0_log.err").write_text("bash: line 9: module: command not found\n")
    with pytest.raises(SystemExit):
        main(["logs", "grid.py", "teacher", "--workspace", str(workspace.root)])
    shown = capsys.readouterr().out
    assert shown.endswith(
        f"(nothing was logged)\n== standard error of job {job}\nbash: line 9: module: command not found\n"
    )


def test_the_price_says_what_takes_more_jobs_than_it_may_have(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = dataclasses.replace(planned(workspace)(), rate=1e3)
    asked = Request(settings=("student.time_limits=1", "student.minutes=100"))
    print_preview(plan, *preview(plan, workspace, asked))
    shown = capsys.readouterr().out
    assert "warning: 4 of student take more jobs than time_limits lets them go on in: raise student.minutes" in shown
    assert "wckey" not in shown


def test_gc_keeps_the_words_of_what_failed_and_waits_for_who_submits(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    for array_id, _, _ in slurm.sent.values():
        array_folder(workspace, array_id).mkdir(parents=True)
    fail(workspace, slurm, "logits", "exception")
    fail(workspace, slurm, "report", "done")
    slurm.states = dict.fromkeys(slurm.states, "FAILED")
    code = workspace.root / "slurm" / "code"
    (report,) = (array_folder(workspace, a) for a, array, _ in slurm.sent.values() if array.stage == "report")
    assert {w.path for w in cleaning.find_waste(workspace)} == {report, *code.iterdir()}
    path = workspace.root / "slurm" / "submit.claim"
    with Claim(path, "sending"), pytest.raises(Claimed, match="in the hands of"):
        cleaning.delete_waste(workspace)
    assert report.exists()
    assert {w.path for w in cleaning.delete_waste(workspace)} >= {report}
    assert not report.exists()
