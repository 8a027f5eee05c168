"""How long a plan takes on this machine: the driver's own order, played through with the plan's prices."""

from __future__ import annotations

import bisect
import heapq
from collections import defaultdict

from pdstudy.launch.devices import Devices, assign, lay_out_artifact
from pdstudy.plan.plan import Plan


def wall_hours(plan: Plan, devices: Devices, workers: int) -> float:
    """Hours until all that is to make is made, by so many workers on these devices (none: one on each core).

    Every artifact is priced as if it had its devices for itself, however many share one, and ranks divide its time.
    Work that is priced at no FLOPs, as building a corpus, takes no time here.
    """
    cores = tuple(f"core {i}" for i in range(workers))
    load = dict.fromkeys(devices.ids or cores, 0)
    todo = {artifact.key: artifact for artifact in plan.todo}
    lacking = {key: {k for k in (*a.needs, *a.after) if k in todo} for key, a in todo.items()}
    wanted_by = defaultdict[str, list[str]](list)
    for key, needs in lacking.items():
        for need in needs:
            wanted_by[need].append(key)
    count = {
        key: max(1, lay_out_artifact(a, devices, plan.study.placement).count) if a.flops else 0
        for key, a in todo.items()
    }
    ready = sorted((-todo[key].flops, key) for key, needs in lacking.items() if not needs)
    under_way: list[tuple[float, str, tuple[str, ...]]] = []
    now = 0.0
    while ready or under_way:
        begun = []
        # Those that wait for whole devices are looked at in every round; behind a full machine nobody is.
        for entry, given in zip(ready, assign((count[key] for _, key in ready), load, 1), strict=False):
            if given is None:
                if all(load.values()):
                    break
                continue
            begun.append(entry)
            load |= dict.fromkeys(given, 1)
            seconds = plan.seconds(todo[entry[1]].flops) / max(1, len(given))
            heapq.heappush(under_way, (now + seconds, entry[1], given))
        for entry in begun:
            ready.remove(entry)
        now, ended, given = heapq.heappop(under_way)
        load |= dict.fromkeys(given, 0)
        for key in wanted_by[ended]:
            lacking[key].discard(ended)
            if not lacking[key]:
                bisect.insort(ready, (-todo[key].flops, key))
    return now / 3600
