"""What a device needs to hold: checked against tensors that autograd keeps, and against sizes of known models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from pdstudy.config.model import Shape
from pdstudy.config.placement import Execution, Placement, resolve
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.distill.loss import chunk_size
from pdstudy.models.build_model import build_model
from pdstudy.plan import memory
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.builder import make_plan
from pdstudy.plan.memory import DeviceMemory, declared_memory, device_memory, memory_warnings
from pdstudy.plan.plan import Plan
from pdstudy.study.grid import arm
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run
from tests.study.test_study import make_study

LLAMA_70B = Shape(width=8192, layers=80, heads=64, query_groups=8, ffn=28672, vocab=128_256, tied=False)


def test_sizes_are_those_that_the_code_has() -> None:
    assert chunk_size.TEACHER_LOGITS_BYTES["cuda"] == memory.TEACHER_LOGITS_BYTES
    assert 12 * chunk_size.STATISTICS_BYTES["cuda"] == memory.STATISTICS_BYTES
    assert chunk_size.CHUNK_BYTES["cuda"] == memory.LOSS_BYTES


def saved_bytes(shape: Shape, tokens: int, context: int, dtype: torch.dtype) -> int:
    """Bytes of all that autograd keeps of a forward through the blocks, but for the weights."""
    model = build_model(shape, seed=0, attention="sdpa").to(dtype)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(tokens // context, context, dtype=torch.long), use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("width", "groups", "ffn"), [(64, 2, 172), (32, 4, 128), (64, 1, 64)])
def test_activations_are_what_autograd_keeps(width: int, groups: int, ffn: int, dtype: str) -> None:
    """No less, and a tenth more at most."""
    shape = Shape(width=width, layers=3, heads=4, query_groups=groups, ffn=ffn, vocab=100)
    run = make_run(student=shape, tokens_per_step=640, precision=dtype)
    estimate = run_memory(run, gpu=False).activations
    assert 0.9 * estimate < saved_bytes(shape, 640, 64, getattr(torch, dtype)) <= estimate


def run_memory(run: Run, ranks: int = 1, replicas: int = 1, *, gpu: bool = True, **placement: object) -> DeviceMemory:
    artifact = RunArtifact(key="x", label="x", done=False, run=run, role="student")
    found = device_memory(artifact, Placement(**placement), ranks, replicas, gpu=gpu)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_weights_are_shared_by_ranks_and_kept_by_replicas() -> None:
    run = make_run(student=LLAMA_70B, tokens_per_step=64 * 64)
    total = LLAMA_70B.parameters().total
    assert total == pytest.approx(70.55e9, rel=1e-3)  # as Meta counts it
    assert run_memory(run).weights == 16 * total
    block = (total - 2 * 128_256 * 8192) / 80
    assert run_memory(run, 8).weights == pytest.approx(16 * total / 8 + 4 * (2 * 128_256 * 8192 + block))
    assert run_memory(run, 8, replicas=8).weights == 16 * total
    bf16 = dataclasses.replace(run, precision="bfloat16")
    assert run_memory(bf16).weights == 18 * total


def test_smaller_micro_batches_and_recomputation_need_less() -> None:
    run = make_run(student=LLAMA_70B, tokens_per_step=64 * 64)
    whole, small, again = (
        run_memory(run, gpu=False, **placement).activations
        for placement in ({}, {"micro_batch_tokens": 1024}, {"activation_checkpointing": True})
    )
    assert small == whole / 4
    assert run_memory(run, 4, gpu=False).activations == small
    assert again < whole / 15


@pytest.fixture
def captured(tmp_path: Path) -> Plan:
    """A plan whose KD arm has stored logits of a 70B teacher, and the other a live one."""
    teacher = Pretrained(path=str(tmp_path / "nowhere"), dtype="bfloat16", shape=LLAMA_70B)
    base = make_run(student=dataclasses.replace(make_run().student, vocab=128_256))
    grid = arm("KD", {"objective": KD(teacher=teacher)}, axis="loss")
    grid += arm("live", {"objective": KD(teacher=teacher, stored="live")}, axis="loss")
    study = make_study(base=base, grid=grid, baseline={}, seeds=(0,), evaluations=(), elsewhere=True)
    return make_plan(study, Workspace(tmp_path / "ws"))


def test_a_teacher_that_is_too_large_is_warned_of(captured: Plan) -> None:
    (store,) = captured.stores
    alone, shared = (device_memory(store, Placement(), ranks) for ranks in (1, 8))
    assert alone is not None
    assert shared is not None
    assert alone.weights == 2 * LLAMA_70B.parameters().total
    assert shared.weights == pytest.approx(alone.weights / 8 + 2 * (2 * 128_256 * 8192 + 855e6), rel=1e-2)
    assert 2 * 2**30 < alone.activations < 6e9
    live = next(a for a in captured.runs if a.run.is_live)
    needed = device_memory(live, Placement(), 1)
    assert needed is not None
    assert needed.weights > alone.weights

    def warned(*rules: Execution) -> list[str]:
        def execution(artifact: Artifact) -> Execution:
            return resolve(rules, artifact.stage, artifact.parameters)

        return list(memory_warnings(captured, execution, declared_memory))

    assert warned() == warned(Execution(gpus=1)) == []
    lines = warned(Execution(gpus=1, gpu_memory_gb=80))
    assert [line.split()[0] for line in lines] == ["logits", "student"]
    assert "needs about 146GB (weights 141GB, activations 5" in lines[0]
    assert "on each of 1 device, which has 80GB; Execution(stage='logits', gpus=4) shares it" in lines[0]
    assert warned(Execution(gpus=4, gpu_memory_gb=80), Execution(stage="logits", gpus=4)) == []
    # On a CPU nothing shares it.
    (line, *_) = warned(Execution(memory_gb=64))
    assert line.endswith("on each of 1 device, which has 64GB")


def test_settings_of_other_families_are_read(tmp_path: Path, captured: Plan) -> None:
    """By the names of GPT-2's config, from a folder: the same as of a shape with its widths."""
    names = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 500, "n_inner": None}
    found = memory._config_dimensions(names, 1e6)
    assert (found.width, found.layers, found.queries, found.keys, found.ffn) == (64, 3, 64, 64, 256)
    assert memory._config_dimensions({}, 1e6).gathered == 1e6
    (store,) = captured.stores
    spec = dataclasses.replace(store.need.spec, teacher=Pretrained(path=str(tmp_path / "nowhere")))
    elsewhere = dataclasses.replace(store, need=dataclasses.replace(store.need, spec=spec))
    assert device_memory(elsewhere, Placement(), 1) is None
