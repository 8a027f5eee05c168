"""Which GPUs there are, which an artifact is given, and how long a plan takes of them; all devices are invented."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdstudy.config.placement import Execution, Placement
from pdstudy.core.errors import ConfigError
from pdstudy.launch.devices import Devices, assign, lay_out_artifact, name_devices
from pdstudy.launch.gpus import Gpu, choose_gpus, parse_query, visible_gpus
from pdstudy.launch.schedule import wall_hours
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.grid import axis
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.study.test_study import make_study

QUERY = """\
0, GPU-5f1c, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0
1, GPU-77aa, NVIDIA H100 80GB HBM3, 81559, 12, 9.0
2, GPU-9bcd, Tesla V100-SXM2-16GB, 16384, 16000, 7.0
3, GPU-eeee, A future one, [N/A], [Not Supported], [N/A]
"""


def test_gpus_are_read_from_nvidia_smi() -> None:
    listed = parse_query(QUERY)
    first, _, old, unknown = (gpu for _, gpu in listed)
    assert (first.id, first.memory, first.free, first.bf16) == ("0", 81559 << 20, 81000 << 20, True)
    assert (old.name, old.bf16) == ("Tesla V100-SXM2-16GB", False)
    assert (unknown.memory, unknown.free, unknown.capability) == (0, 0, 0)
    assert parse_query("No devices were found\n") == []


@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, "0123"), ("", ""), ("2,0", "20"), ("1,9,0", "1"), ("-1", ""), (" 3 , 1", "31"), ("MIG-1,0", "MIG-10")],
)
def test_those_that_cuda_would_see_are_found(visible: str | None, found: str) -> None:
    """The first entry that names nothing ends the list, as in CUDA."""
    assert "".join(gpu.id for gpu in visible_gpus(parse_query(QUERY), visible)) == found


def test_a_gpu_named_by_its_uuid_keeps_that_name() -> None:
    (gpu,) = visible_gpus(parse_query(QUERY), "GPU-9bcd")
    assert (gpu.id, gpu.memory) == ("GPU-9bcd", 16384 << 20)


@pytest.mark.parametrize("wanted", ["4", "0,0", "", "0,x", "all"])
def test_gpus_that_are_not_here_are_refused(wanted: str) -> None:
    found = [Gpu("0"), Gpu("2")]
    assert [gpu.id for gpu in choose_gpus(found, "2,0")] == ["2", "0"]
    assert choose_gpus(found, None) == tuple(found)
    with pytest.raises(ConfigError, match=f"--gpus: found {wanted}; allowed: some of 0,2"):
        choose_gpus(found, wanted)
    with pytest.raises(ConfigError, match="there is no GPU here"):
        choose_gpus([], "0")


def test_devices_are_shared_evenly_and_blocks_are_free() -> None:
    free = dict.fromkeys("0123", 0)
    assert list(assign([1, 1, 1, 1, 1], free, 1)) == [("0",), ("1",), ("2",), ("3",), None]
    assert list(assign([1] * 9, free, 2))[4:] == [("0",), ("1",), ("2",), ("3",), None]
    assert list(assign([2, 1, 0, 2, 1], free, 1)) == [("0", "1"), ("2",), (), None, None]
    assert list(assign([2, 1, 1, 1, 1, 1], free, 2)) == [("0", "1"), ("2",), ("3",), ("2",), ("3",), None]
    assert list(assign([4, 1], free | {"3": 1}, 2)) == [None, None]
    assert list(assign([2, 1, 1], free | {"1": 1, "2": 1, "3": 2}, 2)) == [None, ("2",), None]


@given(
    st.lists(st.integers(0, 4), max_size=12),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.integers(1, 2),
)
def test_no_device_has_more_than_its_share(counts: list[int], load: list[int], per_device: int) -> None:
    """Several ranks have their devices to themselves, and the most important artifact begins once all is idle."""
    before = {str(i): min(n, per_device) for i, n in enumerate(load)}
    after = dict(before)
    for count, chosen in zip(counts, assign(counts, before, per_device), strict=True):
        if chosen is None:
            continue
        assert len(chosen) == len({*chosen}) == count
        for each in chosen:
            assert count == 1 or after[each] == 0
            after[each] += per_device if count > 1 else 1
    assert all(n <= per_device for n in after.values())
    if counts:
        assert next(assign(counts, dict.fromkeys(before, 0), per_device)) is not None


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_large_run_begins_however_many_small_ones_there_are(count: int) -> None:
    """Each device is free at another time, and a small run would take it: the large one's are kept as they drain."""
    load = dict.fromkeys("0123", 1)
    for time in range(12):
        load[str(time % 4)] = 0
        large, small = assign([count, 1], load, 1)
        if large is not None:
            assert time < 4
            return
        load |= dict.fromkeys(small or (), 1)
    raise AssertionError("it never began")


def runs_of(workspace: Workspace, *, executions: tuple[Execution, ...] = (), **changes: object) -> Plan:
    """A plan of four runs of 10 steps."""
    grid = axis("lr", (1e-3, 2e-3, 3e-3, 4e-3), field="optimiser.lr")
    study = make_study(grid=grid, baseline={}, seeds=(0,), evaluations=(), base=make_run(), executions=executions)
    return make_plan(dataclasses.replace(study, **changes), workspace)  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: object) -> Workspace:
    return Workspace(tmp_path)  # type: ignore[arg-type]


def test_ranks_are_those_of_the_rules(here: Workspace) -> None:
    rules = (Execution(gpus=8), Execution(stage="student", parameters=1e9, gpus=4))
    plan = runs_of(here)
    corpus, run, *_ = plan.artifacts

    def count(gpus: int, *rules: Execution, placement: Placement = plan.study.placement) -> tuple[int, int, int]:
        found = lay_out_artifact(run, Devices(tuple(map(str, range(gpus))), rules=rules), placement)
        return found.count, found.asked, found.replicas

    assert lay_out_artifact(corpus, Devices(("0", "1"), rules=rules), plan.study.placement).count == 0
    assert count(0, *rules) == (0, 8, 1)
    assert count(2) == (1, 1, 1)
    assert count(4, Execution(gpus=2)) == (2, 2, 1)
    # 10 sequences a step are divided by 2 and 5 alone.
    assert count(4, Execution(gpus=4)) == (2, 4, 1)
    assert count(1, *rules) == (1, 8, 1)
    assert count(4, Execution(gpus=2, replicas=2)) == (2, 2, 2)
    assert count(4, placement=Placement(replicas=2)) == (2, 2, 2)
    assert count(1, placement=Placement(replicas=2)) == (1, 2, 1)


def test_hours_follow_from_devices_and_chains(here: Workspace) -> None:
    plan = runs_of(here)
    one = plan.hours(plan.artifacts[1].flops)
    assert plan.study.machine.unit == "core-hours"

    def hours(gpus: int, rules: tuple[Execution, ...] = ()) -> float:
        return wall_hours(plan, Devices(tuple(map(str, range(gpus))), rules=rules), 9) / one

    assert [hours(n) for n in (1, 2, 3, 4, 8)] == pytest.approx([4, 2, 2, 1, 1])
    assert wall_hours(plan, Devices(), 2) == pytest.approx(2 * one)
    assert hours(2, (Execution(gpus=2),)) == pytest.approx(2)
    assert hours(3, (Execution(gpus=2),)) == pytest.approx(2)
    chained = make_plan(make_study(seeds=(0,)), here)
    teacher, store, kd = (next(a for a in chained.artifacts if a.kind == k) for k in ("teacher", "logits", "student"))
    chain = chained.hours(teacher.flops + store.flops) + chained.hours(kd.flops)
    assert wall_hours(chained, Devices(tuple("0123")), 5) == pytest.approx(chain)
    assert wall_hours(dataclasses.replace(plan, artifacts=()), Devices(("0",)), 2) == 0


def test_the_workers_of_a_machine() -> None:
    assert Devices().workers(None, 12) == 12
    assert Devices().workers(20, 12) == 20
    assert Devices(("0", "1"), per_device=3).workers(None, 12) == 7
    assert Devices(("0", "1")).workers(1, 12) == 1
    assert name_devices(("0", "3")) == "GPUs 0,3"
