"""The real reconciler and the real ledger over a cluster in memory that fails in every way SLURM does (`world`).

`simulate(seed, cells)` takes one study of random shape through submits, crashes of the submitting process, and the
scheduler's misfortunes, until everything is done, and checks on the way that nothing runs twice, nothing starts
before what it needs, nothing is sent to start before the end of what it may go on from, nothing that is done or alive
is sent, and nothing is lost.

    python -m tests.slurm.simulation --seeds 5000 --cells 2000      (thousands of seeds: `make test-long`)
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter

from pdstudy.slurm.job import Job, make_report_job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import find_held_jobs, gather_histories
from pdstudy.slurm.reconcile import decide
from pdstudy.slurm.scheduler import Limits
from pdstudy.slurm.submit import SubmitOutcome, adopt, submit
from tests.slurm.invented import make_study
from tests.slurm.world import Crash, World


def simulate(seed: int, cells: int) -> Counter[str]:
    """One study to its end. Raises `AssertionError` where an invariant breaks; returns what happened how often."""
    rng = random.Random(seed)
    jobs = make_study(rng, cells)
    size = max(4, rng.choice([cells // 7, cells, 1001]))
    world = World(
        rng=rng,
        jobs=jobs,
        allowed=Limits(array=size),
        max_submitted=rng.choice([None, None, max(25, cells // 3)]),
        accounting=rng.random() < 0.5,
        trouble=rng.choice([0.2, 1.0]),
    )
    for job in jobs:
        for key in job.after:
            world.followers.setdefault(key, set()).add(job.key)
    ledger = Ledger()
    rounds = 0
    while len(world.done) < len(jobs):
        rounds += 1
        assert rounds < 400, f"{len(jobs) - len(world.done)} jobs are not done after {rounds} submits"
        if rounds == 12:
            world.trouble = 0.05  # nothing that fails for ever ever ends
        world.crash_before = world.crash_after = rng.random() < 0.3
        world.silent = rng.random() < 0.2
        outcome = _submit(world, ledger, rng)
        if outcome is not None:
            _nothing_is_forgotten(world, outcome)
        for _ in range(rng.randint(1, 6)):
            world.step(rng.choice([0.3, 0.9]))
    world.crash_before = world.crash_after = world.silent = False
    final = _submit(world, ledger, rng)
    assert final is not None
    assert not final.sent, "everything is done and something was sent"
    more = 0
    while world.pending or world.running:  # jobs that were requeued with nothing left to make, and the report
        more += 1
        assert more < 100, "everything is done and jobs stay in the queue"
        _submit(world, ledger, rng)
        world.step(0.9)
    return Counter(rounds=rounds, **world.calls, restarts=sum(e.restart for m in world.arrays.values() for e in m))


def _submit(world: World, ledger: Ledger, rng: random.Random) -> SubmitOutcome | None:
    queue = world.queue()
    world.sent_in_round = set()
    adopt(ledger, queue, world.adopt)
    jobs = [Job(**{**vars(job), "done": job.key in world.done}) if job.key in world.done else job for job in world.jobs]
    report = make_report_job("sim", ())
    keys = [*(job.key for job in jobs if not job.done), report.key]
    histories = gather_histories(keys, ledger, queue, world.rows.__getitem__, world.ended)
    stuck = decide(jobs, histories).stay
    if stuck and rng.random() < 0.7:
        ledger.append("retry", study="sim", units=list(stuck))
        histories = gather_histories(keys, ledger, queue, world.rows.__getitem__, world.ended)
    try:
        waiting = find_held_jobs([*(job.key for job in jobs), report.key], ledger, queue)
        return submit(jobs, histories, ledger, world, "sim", report=report, held=waiting)
    except Crash:
        return None


def _nothing_is_forgotten(world: World, outcome: SubmitOutcome) -> None:
    """Every job is done, alive, sent, kept, or has a named reason to stay behind."""
    sent = {job.key for _, array in outcome.sent for element in array.elements for job in element}
    decision, kept = outcome.decision, set(outcome.kept)
    for job in world.jobs:
        places = [
            job.key in world.done,
            job.key in decision.live,
            job.key in sent,
            job.key in kept,
            job.key in decision.stay,
            job.key in decision.blocked,
        ]
        assert sum(places) == 1, f"{job.key} is in {places}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cells", type=int, default=10_000)
    args = parser.parse_args()
    total: Counter[str] = Counter()
    begun = time.perf_counter()
    for seed in range(args.first, args.first + args.seeds):
        try:
            total += simulate(seed, args.cells)
        except AssertionError as error:
            raise SystemExit(f"seed {seed}, {args.cells} cells: {error}") from error
    print(f"{args.seeds} seeds of {args.cells} cells: all done, {dict(total)}, {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
