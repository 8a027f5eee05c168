"""Runs of several ranks from the profile alone: FSDP2 and HSDP on one node and on two, preempted, and resharded."""

from __future__ import annotations

import json

import pytest

from tests.slurm.lab import Lab
from tests.slurm.site import Site
from tests.slurm.test_trouble import LM0, causes, one_run, starts, take_all_nodes

pytestmark = pytest.mark.slurm


def provenance(lab: Lab) -> dict[str, object]:
    path = lab.workspace / "runs" / lab.run_key(LM0) / "provenance.json"
    return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def two_ranks(site: Site, texts, undisturbed: Lab, tmp_path_factory) -> Lab:  # type: ignore[no-untyped-def]
    """The run on two ranks of one node, undisturbed."""
    lab = Lab(tmp_path_factory.mktemp("ranks") / "user", texts, site)
    one_run(lab, undisturbed, "student.tasks_per_node=2")
    lab.wait_for_queue()
    return lab


def close(a: Lab, b: Lab) -> None:
    """The same losses up to the order of sums."""
    one, other = (x.outcome(x.run_key(LM0))["metrics"] for x in (a, b))
    assert [r["step"] for r in one] == [r["step"] for r in other]
    for left, right in zip(one[:20], other[:20]):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-5)
    assert one[-1]["loss"] == pytest.approx(other[-1]["loss"], rel=2e-2)


def test_two_ranks_make_the_same_run(two_ranks: Lab, undisturbed: Lab) -> None:
    assert provenance(two_ranks)["ranks"] == 2
    close(two_ranks, undisturbed)


def test_two_ranks_preempted_end_bit_for_bit_as_undisturbed(
    lab: Lab, site: Site, two_ranks: Lab, undisturbed: Lab
) -> None:
    one_run(lab, undisturbed, "student.tasks_per_node=2")
    lab.wait_for_step(LM0, 20)
    take_all_nodes(site)
    lab.wait_for_queue()
    assert causes(lab, LM0) == ["preempted", "done"]
    assert lab.outcomes() == two_ranks.outcomes()
    assert "drain" not in site.ask("sinfo", "-h", "-o", "%T")


def test_a_run_of_two_ranks_goes_on_with_one(lab: Lab, site: Site, undisturbed: Lab) -> None:
    one_run(lab, undisturbed, "student.tasks_per_node=2")
    lab.wait_for_checkpoint(LM0)
    lab.call("cancel", "grid.py")
    lab.wait_for_queue(60)
    lab.settings = ["minutes=10"]
    assert len(lab.submit()["sent"]) == 1
    lab.wait_for_queue()
    assert (provenance(lab)["ranks"], len(starts(lab, LM0))) == (1, 2)
    assert [p["ranks"] for p in provenance(lab)["earlier"]] == [2]  # type: ignore[attr-defined]
    assert lab.states()[LM0] == "done"
    close(lab, undisturbed)


@pytest.fixture(scope="module")
def short(texts, undisturbed: Lab, tmp_path_factory) -> Lab:  # type: ignore[no-untyped-def]
    """A run of 40 steps without a cluster, in one process."""
    lab = Lab(tmp_path_factory.mktemp("short") / "user", texts, None).write(steps=40, seeds=(0,), losses=("LM",))
    lab.take_from(undisturbed, "corpora")
    lab.call("run", "grid.py", "--workers", "1")
    return lab


@pytest.mark.parametrize("replicas", [1, 2])
def test_two_nodes_sharded_and_replicated(lab: Lab, site: Site, undisturbed: Lab, short: Lab, replicas: int) -> None:
    """FSDP over both ranks, and HSDP with a copy on each."""
    one_run(lab, undisturbed, "student.nodes=2", f"student.replicas={replicas}", steps=40)
    lab.wait_for_queue()
    assert provenance(lab)["ranks"] == 2
    assert lab.states()[LM0] == "done"
    close(lab, short)


def test_every_rank_and_every_job_has_a_gpu_of_its_own(lab: Lab, site: Site, undisturbed: Lab) -> None:
    """Ranks of one node see all of the node's GPUs and take that of their local rank; two jobs see one each.

    The execution's container is a script here, which notes what each process is given.
    """
    notes = lab.folder / "notes"
    observe = lab.folder / "observe.sh"
    lab.folder.mkdir()
    observe.write_text(f'echo "$SLURM_NODEID $SLURM_LOCALID $CUDA_VISIBLE_DEVICES" >> {notes}; exec "$@"\n')
    one_run(lab, undisturbed, "student.gpus=2", f"student.container=/bin/sh {observe}", steps=20)
    lab.wait_for_queue()
    assert provenance(lab)["ranks"] == 2
    devices = {visible.split(",")[int(local)] for _, local, visible in map(str.split, notes.read_text().splitlines())}
    assert devices == {"0", "1"}

    notes.unlink()
    lab.write(steps=21, seeds=(0, 1), losses=("LM",))
    lab.settings = ["minutes=10", "student.gpus=1", f"student.container=/bin/sh {observe}"]
    lab.submit()
    lab.wait(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2, 60, "two jobs")
    lab.wait_for_queue()
    assert {line.split()[2] for line in notes.read_text().splitlines()[:2]} == {"0", "1"}
