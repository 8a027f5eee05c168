"""The memory that a device needs for an artifact: weights by their type, and an estimate of activations.

Bytes. Weights, gradients and AdamW's moments are counted; of activations those of the largest micro-batch, as decoders
of the Llama kind have them with attention that keeps no scores. What a process takes beside (CUDA's context, NCCL's
buffers, fragments) is not in it: on a GPU allow for a tenth more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdstudy.config.evaluation import tokens_of
from pdstudy.config.model import Shape, Student
from pdstudy.config.model_folder import read_text_config
from pdstudy.config.placement import Execution, Placement
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.format import size
from pdstudy.plan.artifact import Artifact, RunArtifact, StoreArtifact, TeacherLossArtifact
from pdstudy.plan.cost import sizes, stored_parameters
from pdstudy.plan.plan import Plan

ITEM_BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number, by its type."""

TRAINED_BYTES = 16
"""Bytes per parameter in training: weight, gradient and two moments of AdamW, in float32."""

TEACHER_LOGITS_BYTES, STATISTICS_BYTES, LOSS_BYTES = 2 << 30, 12 * (128 << 20), 3 << 29
"""Bytes on a GPU of a capture's logits, of the tensors that summarise them, and of a chunk of the loss: the sizes of
`pdstudy.distill.loss.chunk_size`. (On a CPU they are a few megabytes.)"""

GPU_COUNTS = (2, 4, 8, 16, 32, 64)
"""Numbers of GPUs that advice is given among."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device."""

    weights: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.activations


@dataclass(frozen=True)
class _Dimensions:
    """Parameters in all, and the widths that decide on activations; 0 where they are not known."""

    total: float
    vocab: int
    width: int
    layers: int
    queries: int
    keys: int
    ffn: int

    @property
    def gathered(self) -> float:
        """Parameters of a sharded model that a device holds whole at a time: embedding, head and one block."""
        tables = min(self.total, 2.0 * self.vocab * self.width)
        return tables + (self.total - tables) / max(1, self.layers)

    def weights(self, item: int, shards: int) -> float:
        """Bytes of weights that only run forward."""
        return item * (self.total / shards + (self.gathered if shards > 1 else 0.0))

    def kept(self, item: int) -> float:
        """Bytes per token that a layer keeps for its backward: inputs and outputs of its products, two norms in
        float32. (Counted by saved tensors: 95 to 99 % of this, `tests/plan/test_device_memory.py`.)"""
        return item * (4 * self.width + 3 * (self.queries + self.keys) + 4 * self.ffn) + 8 * self.width

    def passing(self, item: int) -> float:
        """Bytes per token of a layer without a backward."""
        return item * (8 * self.width + 3 * self.ffn)


def device_memory(
    artifact: Artifact, placement: Placement, ranks: int, replicas: int = 1, *, gpu: bool = True
) -> DeviceMemory | None:
    """The memory of each of `ranks` devices that make an artifact; None of one that loads no model on them, or a model
    whose size is not known here."""
    if isinstance(artifact, StoreArtifact):
        spec, tokens = artifact.need.spec, artifact.tokens
        return _inference_memory(spec.teacher, spec.view.context, tokens, ranks, gpu)
    if isinstance(artifact, TeacherLossArtifact):
        text, tokens = artifact.text, max(map(tokens_of, artifact.evaluations))
        return _inference_memory(text.teacher, text.view.context, tokens, ranks, gpu)
    if isinstance(artifact, RunArtifact):
        return _run_memory(artifact.run, placement, ranks, replicas, gpu)
    return None


def _inference_memory(
    teacher: Run | Pretrained | Online, context: int, most_tokens: int, ranks: int, gpu: bool
) -> DeviceMemory | None:
    model, item = _dimensions(teacher), ITEM_BYTES[_teacher_type(teacher)]
    if not model.total:
        return None
    row = max(1, model.vocab) * item
    most = TEACHER_LOGITS_BYTES if gpu else 0
    tokens = min(max(context, most // row), most_tokens)
    activations = tokens * (row + model.passing(item)) + (STATISTICS_BYTES if gpu else 0)
    return DeviceMemory(model.weights(item, ranks), activations)


def _run_memory(run: Run, placement: Placement, ranks: int, replicas: int, gpu: bool) -> DeviceMemory:
    model, item, shards = _dimensions(run), ITEM_BYTES[run.precision], max(1, ranks // replicas)
    whole = run.tokens_per_step // ranks
    tokens = min(placement.micro_batch_tokens or whole, whole)
    weights = TRAINED_BYTES * model.total / shards
    if shards > 1:
        weights += item * model.gathered
    elif run.precision != "float32":
        weights += item * model.total  # the copy that computes, beside the one that is updated
    kept = model.layers * model.kept(item)
    if placement.activation_checkpointing:
        kept = model.layers * model.width * item + model.kept(item)
    activations = tokens * kept + (LOSS_BYTES if gpu else 0)
    if run.is_live and run.teacher is not None:
        teacher, of_teacher = _dimensions(run.teacher), ITEM_BYTES[_teacher_type(run.teacher)]
        head = of_teacher * teacher.vocab * teacher.width  # whole on every rank
        weights += teacher.weights(of_teacher, shards) + head
        activations += tokens * teacher.passing(of_teacher)
    return DeviceMemory(weights, activations)


def _teacher_type(teacher: Run | Pretrained | Online) -> str:
    return teacher.dtype if isinstance(teacher, Pretrained) else "float32"


def _dimensions(model: Run | Pretrained | Online) -> _Dimensions:
    if isinstance(model, Online):
        model = model.run
    if isinstance(model, Run):
        return _student_dimensions(model.student, sizes(model)[1])
    if model.shape is not None:
        return _student_dimensions(model.shape, model.shape.parameters().total)
    return _config_dimensions(read_text_config(model.path) or {}, stored_parameters(model))


def _student_dimensions(student: Student, total: float) -> _Dimensions:
    if not isinstance(student, Shape):
        return _config_dimensions({**dict(student.settings), "vocab_size": student.vocab}, total)
    across = student.dim_per_head
    queries, keys = student.heads * across, student.query_groups * across
    return _Dimensions(total, student.vocab, student.width, student.layers, queries, keys, student.ffn)


def _config_dimensions(config: Mapping[str, Any], total: float) -> _Dimensions:
    """By the names that transformers' families have for them."""

    def first(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 0)

    width, heads = first("hidden_size", "n_embd", "d_model"), first("num_attention_heads", "n_head")
    across = first("head_dim") or (width // heads if heads else 0)
    keys = (first("num_key_value_heads") or heads) * across
    ffn = first("intermediate_size", "n_inner", "ffn_dim") or 4 * width
    layers = first("num_hidden_layers", "n_layer")
    return _Dimensions(total, first("vocab_size"), width, layers, heads * across, keys, ffn)


def memory_warnings(
    plan: Plan, execution_of: Callable[[Artifact], Execution], limit_of: Callable[[Execution], float | None]
) -> Iterator[str]:
    """A line for each stage of what is to make that needs more memory on a device than `limit_of` has (bytes).

    The artifact that needs most stands for its stage.
    """
    worst: dict[str, tuple[float, str]] = {}
    for artifact in plan.todo:
        execution = execution_of(artifact)
        limit, ranks, replicas = limit_of(execution), execution.ranks, execution.replicas or 1
        gpu = bool(execution.gpus)
        needed = device_memory(artifact, plan.study.placement, ranks, replicas, gpu=gpu)
        if limit is None or needed is None or needed.total <= limit:
            continue
        more = (count for count in GPU_COUNTS if count > ranks)
        enough = next((n for n in more if _fits(artifact, plan.study.placement, n, limit)), None)
        advice = f"; Execution(stage={artifact.kind!r}, gpus={enough}) shares it" if enough and gpu else ""
        text = (
            f"{artifact.kind} {artifact.label} needs about {describe(needed)} on each of {ranks} "
            f"device{'s' if ranks > 1 else ''}, which has {size(limit)}{advice}"
        )
        if needed.total > worst.get(artifact.kind, (0.0, ""))[0]:
            worst[artifact.kind] = needed.total, text
    yield from (text for _, text in worst.values())


def _fits(artifact: Artifact, placement: Placement, ranks: int, limit: float) -> bool:
    needed = device_memory(artifact, placement, ranks)
    return needed is not None and needed.total <= limit


def declared_memory(execution: Execution) -> float | None:
    """Bytes of one device that an execution declares: of a GPU, or without GPUs of the node; None where it does not."""
    declared = execution.gpu_memory_gb if execution.gpus else execution.memory_gb
    return None if declared is None else 1e9 * declared


def describe(memory: DeviceMemory) -> str:
    """Memory in words."""
    return f"{size(memory.total)} (weights {size(memory.weights)}, activations {size(memory.activations)})"
