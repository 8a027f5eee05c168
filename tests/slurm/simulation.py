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

from pdstudy.slurm.job import Job, report_job
from pdstudy.slurm.ledger import Ledger
from pdstudy.slurm.outcomes import gather, held_jobs
from pdstudy.slurm.reconcile import decide
from pdstudy.slurm.scheduler import Limits
from pdstudy.slurm.submit import SubmitOutcome, adopt, submit
from tests.slurm.invented import make_study
from tests.slurm.world import Crash, World


def simulate(seed: int, cells: int) -> Counter[str]:
    """One study to its end. Raises `AssertionError` where an invariant breaks; returns what happened how often."""
    rng = random.Random(seed)
    units = make_study(rng, cells)
    size = max(4, rng.choice([cells // 7, cells, 1001]))
    world = World(
        rng=rng,
        units=units,
        allowed=Limits(array=size),
        max_submitted=rng.choice([None, None, max(25, cells // 3)]),
        accounting=rng.random() < 0.5,
        trouble=rng.choice([0.2, 1.0]),
    )
    for unit in units:
        for key in unit.after:
            world.followers.setdefault(key, set()).add(unit.key)
    ledger = Ledger()
    rounds = 0
    while len(world.done) < len(units):
        rounds += 1
        assert rounds < 400, f"{len(units) - len(world.done)} units are not done after {rounds} submits"
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
    return Counter(rounds=rounds, **world.calls, restarts=sum(e.restart for m in world.jobs.values() for e in m))


def _submit(world: World, ledger: Ledger, rng: random.Random) -> SubmitOutcome | None:
    queue = world.queue()
    world.sent_in_round = set()
    adopt(ledger, queue, world.adopt)
    units = [Job(**{**vars(u), "done": u.key in world.done}) if u.key in world.done else u for u in world.units]
    report = report_job("sim", ())
    keys = [*(u.key for u in units if not u.done), report.key]
    facts = gather(keys, ledger, queue, world.rows.__getitem__, world.ended)
    stuck = decide(units, facts).stay
    if stuck and rng.random() < 0.7:
        ledger.append("retry", study="sim", units=list(stuck))
        facts = gather(keys, ledger, queue, world.rows.__getitem__, world.ended)
    try:
        waiting = held_jobs([*(u.key for u in units), report.key], ledger, queue)
        return submit(units, facts, ledger, world, "sim", report=report, held=waiting)
    except Crash:
        return None


def _nothing_is_forgotten(world: World, outcome: SubmitOutcome) -> None:
    """Every unit is done, alive, sent, kept, or has a named reason to stay behind."""
    sent = {u.key for _, array in outcome.sent for element in array.elements for u in element}
    decision, kept = outcome.decision, set(outcome.kept)
    for unit in world.units:
        places = [
            unit.key in world.done,
            unit.key in decision.live,
            unit.key in sent,
            unit.key in kept,
            unit.key in decision.stay,
            unit.key in decision.blocked,
        ]
        assert sum(places) == 1, f"{unit.key} is in {places}"


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
