"""A device without memory left is one line that says what to set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from pdstudy.config.placement import Placement
from pdstudy.core.claim import Claim
from pdstudy.launch import out_of_memory
from pdstudy.launch.gpus import Gpu
from pdstudy.launch.out_of_memory import explain_memory, is_out_of_memory
from pdstudy.launch.stages import own_devices
from pdstudy.launch.work_order import WorkOrder, make_order
from pdstudy.plan.artifact_state import state_of
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.study.test_study import make_study


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_errors_of_memory_are_known(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) == memory


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(make_study(seeds=(0,), base=make_run()), Workspace(tmp_path))


def order(plan: Plan, kind: str, tmp_path: Path, **placement: object) -> WorkOrder:
    study = dataclasses.replace(plan.study, placement=Placement(**placement))  # type: ignore[arg-type]
    artifact = next(a for a in plan.artifacts if a.kind == kind)
    return make_order(dataclasses.replace(plan, study=study), artifact, Workspace(tmp_path))


def test_each_order_has_settings_of_its_own(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "find_gpus", lambda: (Gpu("1", memory=80 << 30),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert explain_memory(order(plan, "student", tmp_path), 3) == (
        "out of memory on GPU 1 (85.9GB each); set fewer at a time on one GPU (--per-gpu, now 3), or "
        "Placement(micro_batch_tokens=320) (now None: the 640 of a step), or "
        "Placement(activation_checkpointing=True), or "
        "Execution(stage='student', gpus=2): the model over more GPUs (now 1)"
    )
    spent = order(plan, "student", tmp_path, micro_batch_tokens=64, activation_checkpointing=True)
    assert explain_memory(spent, 1).endswith(
        "; set Execution(stage='student', gpus=2): the model over more GPUs (now 1)"
    )
    half = order(plan, "student", tmp_path, micro_batch_tokens=128)
    assert "set Placement(micro_batch_tokens=64) (now 128), or " in explain_memory(half, 1)
    assert explain_memory(order(plan, "logits", tmp_path), 1).endswith(
        "; set Execution(stage='logits', gpus=2): the model over more GPUs (now 1)"
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert "GPUs 0,1 (85.9GB each); set Placement(micro_batch_tokens=128) (now None: the 320 " in explain_memory(
        order(plan, "student", tmp_path), 3
    )


def test_without_gpus_fewer_workers_need_less(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert explain_memory(order(plan, "corpus", tmp_path), 1) == (
        "out of memory on this machine; set fewer workers at a time (--workers)"
    )


def test_who_looks_sees_the_device(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim names it, and is a claim like any other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert own_devices() == "GPUs 2,3"
    workspace = Workspace(tmp_path)
    store = plan.stores[0]
    path = workspace.claim(store.kind, store.key)
    assert "device" not in state_of(store, workspace)
    with Claim(path, "logits", own_devices()):
        assert state_of(store, workspace)["device"] == "GPUs 2,3"
        with pytest.raises(Exception, match="in the hands of process"), Claim(path, "logits"):
            pass
    assert not path.exists()
