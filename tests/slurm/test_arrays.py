"""From groups to arrays: packed, cut to the limits, tied together; what refusals mean; the longest chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pdstudy.config.placement import Execution, resolve
from pdstudy.slurm.arrays import Array, cut_group, format_dependency, split_parallelism
from pdstudy.slurm.cost import longest_chain_hours, wall_hours
from pdstudy.slurm.job import Job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import JobHistory
from pdstudy.slurm.reconcile import Group
from pdstudy.slurm.sbatch import is_passing_limit
from pdstudy.slurm.scheduler import Limits
from pdstudy.slurm.submit import Refused, SubmitOutcome, submit

PLAIN = resolve((), "student", 0)


def test_what_waits_for_one_model_each_is_one_array() -> None:
    """Tasks of finetuned models: three arrays, tied element by element; a model that two wait for comes last."""
    students = [Job(f"student/{i}", "student", PLAIN, flops=float(i)) for i in range(5)]
    tuned = [Job(f"finetune/{i}", "finetune", PLAIN, (f"student/{i}",)) for i in (0, 1, 3)]
    twice = [Job(f"finetune/4-{n}", "finetune", PLAIN, ("student/4",)) for n in range(2)]
    asked = [Job(f"evaluate/{t.key}", "evaluate", PLAIN, (t.key,)) for t in (*tuned, *twice)]
    sent = [*students, *tuned, *twice, *asked]
    outcome, ledger = send_all(sent)
    assert [[job.key for e in a.elements for job in e] for _, a in outcome.sent] == [
        ["student/3", "student/1", "student/0", "student/4", "student/2"],
        ["finetune/3", "finetune/1", "finetune/0"],
        ["finetune/4-0", "finetune/4-1"],
        ["evaluate/finetune/3", "evaluate/finetune/1", "evaluate/finetune/0"],
        ["evaluate/finetune/4-0", "evaluate/finetune/4-1"],
    ]
    waits = [row["after"] for row in ledger.rows if row["event"] == "intent"]
    assert waits == ["", "aftercorr:1", "afterok:1_3", "aftercorr:2", "aftercorr:3"]


def test_what_waits_for_one_model_each_is_sent_alone_where_indices_differ() -> None:
    """The models' jobs are under way already, or the limit lets only some of the array through."""
    students = [Job(f"student/{i}", "student", PLAIN) for i in range(3)]
    asked = [Job(f"evaluate/{i}", "evaluate", PLAIN, (f"student/{i}",)) for i in range(3)]
    _, ledger = send_all([*students, *asked], {f"student/{i}": JobHistory(element=f"7_{i + 1}") for i in range(3)})
    assert [row["after"] for row in ledger.rows if row["event"] == "intent"] == [
        "afterok:7_1",
        "afterok:7_2",
        "afterok:7_3",
    ]
    outcome, ledger = send_all([*students, *asked], room=5)
    assert outcome.kept == ["evaluate/2"]
    assert [row["after"] for row in ledger.rows if row["event"] == "intent"][1:] == [
        "aftercorr:1", "afterok:1_0", "afterok:1_1", "afterok:1_2",
    ]  # fmt: skip


def send_all(
    jobs: list[Job],
    histories: Mapping[str, JobHistory] | None = None,
    room: int = 99,
    report: Job | None = None,
) -> tuple[SubmitOutcome, Ledger]:
    """What a submit sends to a site that takes `room` jobs and calls them 1, 2, ..."""

    class Site:
        def __init__(self) -> None:
            self.jobs, self.left = 0, room

        def limits(self) -> Limits:
            return Limits()

        def release(self, elements: Sequence[str]) -> None:
            raise AssertionError

        def send(self, array_id: str, array: Array, after: str) -> str:
            if len(array.elements) > self.left:
                raise Refused("QOSMaxSubmitJobPerUserLimit", limit=True)
            self.left -= len(array.elements)
            self.jobs += 1
            return str(self.jobs)

    ledger = Ledger()
    return submit(jobs, histories or {}, ledger, Site(), "study", report=report), ledger


ONE_SENTENCE = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("said", "later"),
    [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: AssocGrpSubmitJobsLimit", True),
        ("", True),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit", False),
        ("sbatch: error: QOSMaxCpuPerJobLimit", False),
    ],
)
def test_only_a_limit_that_passes_keeps_jobs_back(said: str, later: bool) -> None:
    assert is_passing_limit(f"{said}\nsbatch: error: Batch job submission failed: {ONE_SENTENCE}") is later


def test_the_longest_chain_goes_through_those_whose_end_is_waited_for() -> None:
    made = [
        Job("trunk", "student", PLAIN, flops=3600.0),
        Job("branch", "student", PLAIN, (), ("trunk",), flops=7200.0),
    ]
    assert longest_chain_hours(made, 1.0) == 3.0


def test_arrays_respect_the_sites_size_and_share_the_parallelism() -> None:
    many = tuple(Job(f"u{i}", "student", PLAIN) for i in range(2_500))
    execution = resolve([Execution(parallelism=10)], "student", 0)
    arrays = list(cut_group(Group("student", execution, many, frozenset()), Limits(array=1001)))
    assert [len(a.elements) for a in arrays] == [833, 833, 834]
    assert [a.parallelism for a in arrays] == [3, 3, 4]
    assert [job.key for a in arrays for e in a.elements for job in e] == [job.key for job in many]
    assert split_parallelism(1, 3) == [1, 1, 1]


def test_packing_puts_several_units_into_one_element() -> None:
    execution = resolve([Execution(pack=3)], "student", 0)
    (array,) = cut_group(
        Group("student", execution, tuple(Job(f"u{i}", "student", PLAIN) for i in range(7)), frozenset()), Limits()
    )
    assert array.keys == [["u0", "u1", "u2"], ["u3", "u4", "u5"], ["u6"]]


def test_a_whole_array_is_waited_for_by_its_job() -> None:
    sizes = {"5": 2, "6": 3}
    assert format_dependency("afterok", ["5_0", "5_1", "6_2", "7"], {**sizes, "7": 1}) == "afterok:5:6_2:7"
    assert format_dependency("afterok", [], sizes) == ""


@pytest.mark.parametrize(("count", "sizes"), [(1_000, [1_000]), (1_001, [1_001]), (1_002, [501, 501])])
def test_a_group_of_the_sites_size_is_one_array(count: int, sizes: list[int]) -> None:
    jobs = tuple(Job(f"u{i}", "student", PLAIN) for i in range(count))
    arrays = cut_group(Group("student", PLAIN, jobs, frozenset()), Limits(array=1_001))
    assert [len(array.elements) for array in arrays] == sizes


def test_a_report_waits_for_an_earlier_one_that_lives() -> None:
    """Both write the same files."""
    report = Job("report/study", "report", resolve((), "report", 0))
    outcome, ledger = send_all(
        [Job("student/0", "student", PLAIN)], {"report/study": JobHistory(element="9")}, report=report
    )
    assert outcome.report == "2"
    assert [row["after"] for row in ledger.rows if row["event"] == "intent"] == ["", "afterany:1:9"]


def test_ranks_share_the_work() -> None:
    execution = resolve([Execution(gpus=4)], "student", 0)
    assert execution.ranks == 4
    assert wall_hours(Job("student/0", "student", execution, flops=8 * 3600.0), rate=1.0) == 2.0
