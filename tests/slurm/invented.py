"""Studies of random shape, as jobs that a scheduler is asked to make, for `tests.slurm.simulation`."""

from __future__ import annotations

import random
from dataclasses import replace

from pdstudy.config.placement import Execution, resolve
from pdstudy.slurm.job import Job


def make_study(rng: random.Random, cells: int) -> list[Job]:
    """Corpora, teachers, sliced captures and students that share them: some go on from where another ends, some start
    from another's model, and some models are asked tasks."""
    executions = [
        resolve([Execution(minutes=m, parallelism=rng.choice([None, 4]), pack=rng.choice([1, 1, 3]))], "student", 0)
        for m in (10, 20)
    ]
    plain = resolve([], "corpus", 0)
    jobs = [Job(f"corpus/{i}", "corpus", plain) for i in range(rng.randint(1, 2))]
    corpora = [job.key for job in jobs]
    groups: list[tuple[str, ...]] = [(c,) for c in corpora]
    for t in range(rng.randint(1, 4)):
        corpus = rng.choice(corpora)
        jobs.append(Job(f"teacher/{t}", "teacher", executions[t % 2], (corpus,)))
        slices = [Job(f"logits/{t}/{s}", "logits", plain, (corpus, f"teacher/{t}")) for s in range(rng.randint(1, 5))]
        jobs += slices
        groups.append((corpus, f"teacher/{t}", *(s.key for s in slices)))
    students: list[Job] = []
    for c in range(cells):
        key, flops, luck = f"student/{c}", rng.random(), rng.random()
        before = rng.choice(students[-20:]) if students else None
        if before is not None and luck < 0.3:
            made = replace(before, key=key, after=(before.key,), flops=flops)
        else:
            needs = (before.key,) if before is not None and luck < 0.4 else rng.choice(groups)
            made = Job(key, "student", rng.choice(executions), needs, flops=flops)
        students.append(made)
    jobs += students
    share = rng.choice([0.1, 0.1, 0.1, 1.0])  # all are asked in a quarter of the studies: they take five times as long
    jobs += [Job(f"evaluate/{s.key}", "evaluate", plain, (s.key,)) for s in students if rng.random() < share]
    return jobs
