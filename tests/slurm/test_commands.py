"""`submit`, `cancel` and `status` over a scheduler of a few lines: what takes a real one minutes to bring about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from pdstudy.cli.main import main
from pdstudy.cli.slurm_tables import print_outcome, print_preview
from pdstudy.config.placement import CPU_CORE, H100, Execution, Machine, resolve
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import encode
from pdstudy.plan.plan import Plan
from pdstudy.slurm import commands
from pdstudy.slurm import scheduler as queue
from pdstudy.slurm.cluster_status import cluster_status
from pdstudy.slurm.commands import Request, cancel_study, drop_shared, preview, submit_study, top_up
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import Ending, JobHistory
from pdstudy.slurm.sbatch import array_folder
from pdstudy.workspace.layout import Workspace
from tests.slurm.small_slurm import Slurm, fail, planned

KD = "*loss=KD*"


HELD = "launch failed requeued held"


def with_teacher_made(workspace: Workspace) -> Callable[[], Plan]:
    def plan() -> Plan:
        made = planned(workspace)()
        return dataclasses.replace(
            made, artifacts=tuple(dataclasses.replace(i, done=i.kind in ("corpus", "teacher")) for i in made.artifacts)
        )

    return plan


@pytest.mark.integration
def test_a_held_job_whose_work_is_done_is_shown_and_released(
    workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """SLURM started it again, did not hear that all was made, and could not launch it: the report waits for it."""
    submit_study(planned(workspace), workspace, Request())
    job = slurm.job("teacher")
    slurm.reasons = {job: HELD, slurm.job("report"): "JobHeldUser"}
    made = with_teacher_made(workspace)
    status = cluster_status(made(), workspace)
    assert status is not None
    assert status.held == (job,)
    _, outcome = submit_study(made, workspace, Request())
    assert outcome.released == (job,)
    assert list(slurm.reasons) == [slurm.job("report")]  # what a person held stays held
    print_outcome(made(), outcome, "grid.py")
    assert f"released {job}, which SLURM held" in capsys.readouterr().out
    assert submit_study(made, workspace, Request())[1].released == ()


@pytest.mark.integration
def test_a_held_job_of_another_user_is_theirs_to_release(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_study(planned(workspace), workspace, Request())
    slurm.reasons = {slurm.job("teacher"): HELD}
    monkeypatch.setattr(commands.getpass, "getuser", lambda: "somebody")
    assert submit_study(with_teacher_made(workspace), workspace, Request())[1].released == ()


@pytest.mark.integration
def test_a_held_job_whose_work_is_done_is_cancelled_too(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    slurm.reasons = {slurm.job("teacher"): HELD}
    cancel_study(with_teacher_made(workspace)(), workspace)
    assert slurm.states[slurm.job("teacher")] == "CANCELLED"


@pytest.mark.integration
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


@pytest.mark.integration
def test_a_device_out_of_memory_asks_for_no_more_of_the_hosts(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request(settings=("memory_gb=8",)))
    fail(workspace, slurm, "teacher", "oom", device=True)
    again = Request(settings=("memory_gb=8",), retry=("oom",))
    (array,) = (a for _, a in submit_study(planned(workspace), workspace, again)[1].sent if a.stage == "teacher")
    assert array.execution.memory_gb == 8


@pytest.mark.integration
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


@pytest.mark.integration
def test_a_node_whose_clock_is_ahead_does_not_outlive_a_retry(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    teacher = fail(workspace, slurm, "teacher", "exception", at=4e9)
    sent = submit_study(planned(workspace), workspace, Request(retry=("exception",)))[1].sent
    assert teacher in [key for _, array in sent for element in array.keys for key in element]


@pytest.mark.integration
def test_what_is_cancelled_is_not_kept_back_any_more(workspace: Workspace, slurm: Slurm) -> None:
    """Or a watch in another shell would send it as soon as there is room."""
    slurm.room = 4
    outcome = submit_study(planned(workspace), workspace, Request())[1]
    assert outcome.kept
    slurm.room = 1_000
    cancelled = cancel_study(planned(workspace)(), workspace).cancelled
    assert len(cancelled) == 4
    assert set(slurm.states.values()) == {"CANCELLED"}
    assert top_up(planned(workspace), workspace, "grid") is None


@pytest.mark.integration
def test_cancelling_some_cells_leaves_what_others_need(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    plan = drop_shared(planned(workspace, "*loss=KD*seed=0*")(), planned(workspace)())
    cancelled = cancel_study(plan, workspace).cancelled
    assert [key.partition("/")[0] for key in cancelled] == ["student"]
    plan = drop_shared(planned(workspace, KD)(), planned(workspace)())
    cancelled = cancel_study(plan, workspace).cancelled
    assert {key.partition("/")[0] for key in cancelled} == {"teacher", "logits", "student"}
    living = {e.partition("_")[0] for e, state in slurm.states.items() if state == "PENDING"}
    assert {slurm.sent[job][1].stage for job in living} == {"corpus", "student", "report"}


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.mark.integration
def test_a_study_whose_runs_others_have_sent_has_a_report_of_its_own(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request())
    outcome = submit_study(planned(workspace, name="other"), workspace, Request())[1]
    assert (outcome.sent, len(outcome.decision.live)) == ([], 7)
    assert outcome.report is not None
    assert slurm.sent[outcome.report][2] == "afterany:1:2:3:4:5"
    assert submit_study(planned(workspace, name="other"), workspace, Request())[1].report is None


@pytest.mark.integration
@pytest.mark.parametrize("tool", ["squeue", "scancel", "scontrol"])
def test_a_controller_that_does_not_answer_is_one_line(workspace: Workspace, slurm: Slurm, tool: str) -> None:
    if tool == "scancel":
        submit_study(planned(workspace), workspace, Request())
    slurm.broken.add(tool)
    plan = planned(workspace)()
    with pytest.raises(queue.Unanswered, match=f"does not answer|{tool} failed: {tool}: error: Unable to contact"):
        cancel_study(plan, workspace) if tool == "scancel" else submit_study(lambda: plan, workspace, Request())


@pytest.mark.integration
def test_without_squeue_status_tells_what_the_files_say(
    workspace: Workspace, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_study(planned(workspace), workspace, Request())
    teacher = fail(workspace, slurm, "teacher", "exception")
    monkeypatch.setattr(queue, "available", lambda: False)
    status = cluster_status(planned(workspace)(), workspace)
    assert status is not None
    assert not status.answered
    assert (status.rows[teacher]["state"], status.rows[teacher]["error"]) == ("failed", "exception")
    assert {row["state"] for key, row in status.rows.items() if key != teacher} == {"sent"}


@pytest.mark.integration
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


@pytest.mark.integration
def test_the_price_says_what_takes_more_jobs_than_it_may_have(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = dataclasses.replace(planned(workspace)(), rate=1e3)
    asked = Request(settings=("student.time_limits=1", "student.minutes=100"))
    print_preview(plan, *preview(plan, workspace, asked))
    shown = capsys.readouterr().out
    assert "warning: 4 of student take more jobs than time_limits lets them go on in: raise student.minutes" in shown
    assert "wckey" not in shown


def test_the_preview_of_a_finished_study_is_one_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(workspace)()
    print_preview(plan, [], [])
    assert capsys.readouterr().out == f"{plan.study.name}: all {len(plan.artifacts)} artifacts exist; nothing to send\n"


@pytest.mark.integration
def test_jobs_priced_on_gpus_that_ask_for_none_are_warned_of(
    workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(machine: Machine = H100) -> Plan:
        made = planned(workspace)()
        return dataclasses.replace(made, study=dataclasses.replace(made.study, machine=machine))

    request = Request(settings=("teacher.gpus=1",))
    print_preview(plan(), *preview(plan(), workspace, request))
    wanted = "warning: 4 jobs of student priced in GPU-hours ask for no GPU: set gpus, e.g. --set student.gpus=1\n"
    shown = capsys.readouterr().out
    assert wanted in shown
    assert shown.count("ask for no GPU") == 2  # students and the capture
    outcome = submit_study(plan, workspace, request)[1]
    assert outcome.without_gpu == {"logits": 1, "student": 4}
    print_outcome(plan(), outcome, "grid.py")
    assert wanted in capsys.readouterr().out
    print_preview(plan(CPU_CORE), *preview(plan(CPU_CORE), workspace, request))
    assert "ask for no GPU" not in capsys.readouterr().out
    everywhere = Request(settings=("gpus=1",))
    print_preview(plan(), *preview(plan(), workspace, everywhere))
    assert "ask for no GPU" not in capsys.readouterr().out


@pytest.mark.integration
def test_memory_that_was_asked_for_is_never_less_than_the_user_asks_for_now(workspace: Workspace, slurm: Slurm) -> None:
    submit_study(planned(workspace), workspace, Request(settings=("memory_gb=8",)))
    fail(workspace, slurm, "teacher", "oom")
    again = Request(settings=("memory_gb=40",), retry=("oom",))
    (array,) = (a for _, a in submit_study(planned(workspace), workspace, again)[1].sent if a.stage == "teacher")
    assert array.execution.memory_gb == 40


def test_the_queue_is_that_of_all_who_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr(queue.slurm_command, "ask", ask)
    monkeypatch.setattr(queue.getpass, "getuser", lambda: "me")
    queue.read_queue({"you", "me"})
    (words,) = asked
    assert words[words.index("-u") + 1] == "me,you"


@pytest.mark.parametrize(("last", "memory"), [("oom", 32.0), ("killed", 16.0)])
def test_memory_is_doubled_by_an_ending_for_want_of_it_alone(last: str, memory: float) -> None:
    """And stays what it has come to after any other."""
    execution = resolve([Execution(memory_gb=8)], "student", 0)
    ledger = Ledger()
    had = dataclasses.replace(execution, memory_gb=16.0)
    ledger.append("intent", array="a", study="s", stage="student", elements=[["student/x"]], execution=encode(had))
    ledger.append("sent", array="a", job="7")
    endings = tuple(Ending(cause, "", 0.0) for cause in ("oom", last))
    (sent,) = ledger.sent("student/x")
    history = JobHistory(last=sent, endings=endings)
    assert commands._add_memory(Job("student/x", "student", execution), history, ledger).execution.memory_gb == memory
