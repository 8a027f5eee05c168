"""Placement: how runs are carried out on a machine, and the resources of their jobs on a cluster. Never identity.

An `Execution` says something about some jobs and leaves the rest open (None). Rules are laid over each other, later
ones winning field by field: pdstudy's defaults, the user's `pdstudy.toml`, the project's, the study's `executions`,
the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pdstudy.core.identity import declared
from pdstudy.core.origin import HasOrigin
from pdstudy.core.validation import Problem

Stage = Literal["corpus", "teacher", "logits", "student", "finetune", "evaluate", "report"]


STAGES: tuple[str, ...] = get_args(Stage)


NAMES = ("partition", "account", "qos", "constraint")
"""Settings that are names of SLURM's."""


TRAINING = ("teacher", "student", "finetune")
"""The stages that may use several nodes. The others are one process each, but for a capture on several GPUs."""


@declared
class Execution:
    """Resources of the jobs of a `stage` (None: all) for models of `parameters` or more (non-embedding).

    A field that is None is left to other rules.

    partition, account, qos, constraint   as in sbatch
    nodes, tasks_per_node                 ranks of one run (default: a rank per GPU); training stages only
    gpus, memory_gb                       per node; GPUs of `logits` share the teacher's weights, with a rank on each
    gpu_memory_gb                         of one GPU: plans warn of what needs more
    cpus                                  per task
    minutes                               of one job; a run that needs longer goes on in the next (`time_limits`)
    setup                                 shell lines before the job's command (modules, variables)
    container                             a command that runs what follows it in an image, e.g. "apptainer exec x.sif"
    parallelism                           jobs of one array that may run at a time
    pack                                  runs that share one job, at the same time
    slices                                jobs that share one capture of logits
    replicas                              copies of the model, each sharded over ranks / replicas (HSDP); 1: one (FSDP)
    time_limits                           how often a run may go on after its job's time limit
    warning_seconds                       seconds before its time limit at which a job is signalled to save

    A rule without a stage gives nodes, tasks_per_node and replicas to training alone, GPUs to training and one to
    `logits` and `evaluate`. A rule for `student` holds for `finetune`, too, below those of its own.
    """

    stage: Stage | None = None
    parameters: float | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int | None = None
    tasks_per_node: int | None = None
    gpus: int | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    gpu_memory_gb: float | None = None
    minutes: int | None = None
    setup: tuple[str, ...] | None = None
    container: str | None = None
    parallelism: int | None = None
    pack: int | None = None
    slices: int | None = None
    replicas: int | None = None
    time_limits: int | None = None
    warning_seconds: int | None = None

    def check(self) -> Iterator[Problem]:
        for name in ("nodes", "tasks_per_node", "cpus", "memory_gb", "gpu_memory_gb", "minutes", "parallelism", "pack",
                     "slices", "replicas", "warning_seconds"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield Problem(name, value, "above 0")
        for name in ("gpus", "time_limits", "parameters"):
            value = getattr(self, name)
            if value is not None and value < 0:
                yield Problem(name, value, "0 or more")
        for name in NAMES:
            value = getattr(self, name)
            if value is not None and (not value or any(c.isspace() for c in value)):
                yield Problem(name, value, "a name without blanks")
        lines = [("container", self.container), *((f"setup[{i}]", line) for i, line in enumerate(self.setup or ()))]
        for name, line in lines:
            if line is not None and "\n" in line:
                yield Problem(name, line, "one shell line")
        if self.stage is not None and self.stage not in TRAINING:
            for name in ("nodes", "tasks_per_node", "replicas"):
                if (getattr(self, name) or 1) > 1:
                    more = "; for a teacher too large for one GPU set gpus" if self.stage == "logits" else ""
                    yield Problem(name, getattr(self, name), f"1: stage {self.stage!r} is one process{more}")

    @property
    def ranks(self) -> int:
        return (self.nodes or 1) * (self.tasks_per_node or 1)


DEFAULTS = Execution(
    nodes=1, gpus=0, cpus=1, minutes=60, setup=(), pack=1, slices=1, replicas=1, time_limits=20, warning_seconds=120
)
"""Rule below all others."""


SELECTORS = ("stage", "parameters")
"""Fields that say for which jobs a rule holds; all others are `SETTINGS`."""


SETTINGS = tuple(f.name for f in dataclasses.fields(Execution) if f.name not in SELECTORS)


def resolve(rules: Iterable[Execution], stage: str, parameters: float) -> Execution:
    """The rules together, for one stage and a model of `parameters`; every field that needs a value has one."""
    settings: dict[str, Any] = {}
    # Finetuning a student needs what training it needs, unless a rule for finetuning says otherwise.
    stages = (None, "student", "finetune") if stage == "finetune" else (None, stage)
    for rule in (DEFAULTS, *sorted(rules, key=lambda rule: rule.stage == "finetune")):
        if rule.stage in stages and parameters >= (rule.parameters or 0):
            settings |= {n: v for n in SETTINGS if (v := _setting(rule, n, stage)) is not None}
    if stage in TRAINING:
        settings.setdefault("tasks_per_node", max(1, settings["gpus"]))
    else:
        # A capture's GPUs share its teacher: one rank on each.
        settings |= {"nodes": 1, "tasks_per_node": max(1, settings["gpus"]) if stage == "logits" else 1, "replicas": 1}
    if stage != "logits":
        settings["slices"] = 1
    if stage not in (*TRAINING, "evaluate"):
        settings["pack"] = 1
    return Execution(**settings)


def _setting(rule: Execution, name: str, stage: str) -> Any:
    value = getattr(rule, name)
    if name == "gpus" and rule.stage is None and value and stage not in TRAINING:
        return 1 if stage in ("logits", "evaluate") else None
    return value


def warning_exceeds_limit(execution: Execution) -> Iterator[Problem]:
    """Problem of a settled execution whose jobs would be signalled to save as they start, again and again."""
    minutes, warning = execution.minutes or 0, execution.warning_seconds or 0
    if warning >= 60 * minutes:
        yield Problem("warning_seconds", warning, f"below the {60 * minutes} seconds of minutes={minutes}")


def misfit(execution: Execution, *, sequences_per_step: int) -> Iterator[Problem]:
    """Problems of a settled execution with a run of so many sequences per step."""
    ranks = execution.ranks
    if execution.gpus and execution.gpus < (execution.tasks_per_node or 1):
        yield Problem("tasks_per_node", execution.tasks_per_node, f"at most gpus, {execution.gpus}: a rank needs a GPU")
    if sequences_per_step % ranks:
        fitting = [n for n in range(1, sequences_per_step + 1) if sequences_per_step % n == 0]
        allowed = f"a divisor of the {sequences_per_step} sequences of a step: {', '.join(map(str, fitting[:12]))}"
        yield Problem("nodes * tasks_per_node", ranks, allowed)
    if ranks % (execution.replicas or 1):
        yield Problem("replicas", execution.replicas, f"a divisor of the {ranks} ranks")
    if ranks > 1 and (execution.pack or 1) > 1:
        yield Problem("pack", execution.pack, f"1 where a run has several ranks ({ranks})")


@dataclass(frozen=True)
class Machine(HasOrigin):
    """A machine to price runs on: sustained training FLOP/s of one device (peak times MFU), and the unit of its hours.

    `devices`, `cores` and `read_bytes_per_second` are those of one node, with which the reading of stores is compared.
    """

    name: str
    flops_per_second: float
    unit: str = "GPU-hours"
    devices: int = 1
    cores: int = 1
    read_bytes_per_second: float = 1e9


CPU_CORE = Machine(name="one CPU core", flops_per_second=2.0e10, unit="core-hours")


H100 = Machine(
    name="H100 (989 TFLOP/s bf16 at MFU 0.35)",
    flops_per_second=0.35 * 989e12,
    devices=8,
    cores=96,
    read_bytes_per_second=2e9,
)
"""Eight to a node. The node's 96 cores and the 2 GB/s it reads of a shared file system are assumed: state yours."""


@declared
class Placement:
    """How a process carries out a run on its device. Never part of the run's identity.

    `micro_batch_tokens` bounds the tokens of one forward per rank (None: all that the rank has of a step);
    `threads` are torch's intra-op threads on a CPU; `save_minutes` is the time between checkpoints for resuming;
    `activation_checkpointing` recomputes each block in the backward (less memory, a third more computation);
    `compile` compiles each block; `attention` "auto" is flash attention where it is installed and fits, else torch's
    own ("sdpa"), for families without it transformers' ("eager"); `read_ahead` is how many steps a thread reads ahead
    (None: 2 for a CUDA device, unless a step is large as a whole, else 0; a step that was read is kept in memory until
    it is used); `replicas` copies of the model are each sharded over the ranks of one copy (1: sharded over all ranks).
    """

    micro_batch_tokens: int | None = None
    threads: int = 1
    save_minutes: float = 5.0
    activation_checkpointing: bool = False
    compile: bool = False
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    read_ahead: int | None = None
    replicas: int = 1

    def check(self) -> Iterator[Problem]:
        for name in ("micro_batch_tokens", "threads", "save_minutes", "replicas"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield Problem(name, value, "above 0")
        if self.read_ahead is not None and self.read_ahead < 0:
            yield Problem("read_ahead", self.read_ahead, "0 or more")
