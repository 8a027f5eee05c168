"""States of a study's artifacts, in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pdstudy.cli.plan_tables import MAX_ROWS, WORDS
from pdstudy.cli.tables import print_table
from pdstudy.cli.terminal import STYLE_OF, say
from pdstudy.core.format import age, duration, si
from pdstudy.plan.account import totals
from pdstudy.plan.artifact_state import GROUPS, by_urgency, group_of, states
from pdstudy.plan.members import artifacts_by_study
from pdstudy.plan.plan import Plan
from pdstudy.plan.run_progress import RunProgress, run_progress
from pdstudy.workspace.layout import Workspace


def print_status(plan: Plan, workspace: Workspace, seen: dict[str, dict[str, Any]]) -> None:
    """Print the state of every artifact; `seen` has what the cluster says of some, by key."""
    rows = states(plan, workspace, seen)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    say(f"study {plan.study.name}: " + ", ".join(f"{n} {s}" for s, n in sorted(counts.items())))
    attempts, lost = sum(r.get("attempts", 0) for r in rows), sum(r.get("lost_seconds", 0.0) for r in rows)
    if attempts:
        left = 3600 * totals(plan)["device_hours_todo"] / max(1, counts.get("running", 0)) if plan.todo else 0.0
        eta = f", about {duration(left)} of work left at this width" if left else ""
        say(f"{attempts} attempts on the cluster, {lost / 3600:.2g} hours of work lost{eta}")
    print_studies(plan, {row["key"]: row["state"] for row in rows})
    if len(rows) > MAX_ROWS:
        rows = by_urgency(row for row in rows if row["state"] != "done")
    by_key = {artifact.key: artifact for artifact in plan.artifacts}
    table, explained, now = [], set[str](), time.time()
    for row in rows[:MAX_ROWS]:
        error, state = row.get("error"), WORDS.get(row["state"], row["state"])
        numbers = _numbers(run_progress(by_key[row["key"]], workspace), now)
        detail = "as above" if error in explained else _detail(row)
        table.append([row["kind"], row["label"], state, *numbers, detail])
        explained |= {error} if error else set()
    if table:
        styles = [STYLE_OF[group_of(row["state"])] for row in rows[:MAX_ROWS]]
        _print_used(["stage", "artifact", "state", *NUMBERS, ""], table, styles)
    if len(rows) > MAX_ROWS:
        say(f"... and {_rest(rows[MAX_ROWS:])} (--json shows all)")
    if counts.get("lost") or counts.get("failed"):
        again = "submit" if attempts else "run"
        say(f"lost and failed runs go on from their newest checkpoint with `pdstudy {again}`")


NUMBERS = ("share", "loss", "tokens/s", "age")
"""Columns of a run's numbers; `age` is that of its latest news."""


def _numbers(found: RunProgress, now: float) -> list[str]:
    """The entries of `NUMBERS`. The loss is that of the test split or, with a letter, of validation or training."""
    share = "" if found.share is None else f"{int(100 * found.share)} %"
    mark = "" if found.split in (None, "test") else f" {str(found.split)[0]}"
    loss = "" if found.loss is None else f"{found.loss:.3f}{mark}"
    speed = "" if not found.tokens_per_second else si(found.tokens_per_second)
    return [share, loss, speed, "" if found.updated is None else age(max(0.0, now - found.updated))]


def _print_used(header: Sequence[str], table: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
    """Print a table of states without the columns that are empty."""
    used = [i for i in range(len(header)) if any(row[i] for row in table)]
    right = frozenset(place for place, i in enumerate(used) if header[i] in NUMBERS)
    print_table([header[i] for i in used], [[row[i] for i in used] for row in table], right=right, styles=styles)
    if any(row[header.index("loss")][-2:] in (" v", " t") for row in table):
        say("loss: nats per token on test text; v: on validation text; t: of training, of runs that were not evaluated")


def _rest(rows: Sequence[dict[str, Any]]) -> str:
    """Rows that are not shown, counted by state."""
    return ", ".join(f"{n} {WORDS.get(state, state)}" for state, n in Counter(row["state"] for row in rows).items())


def print_studies(plan: Plan, states: Mapping[str, str]) -> None:
    """Print a row for each study of a collection: its artifacts by group of their state (by key)."""
    members = artifacts_by_study(plan)
    rows = []
    for name, artifacts in members.items():
        counts = Counter(group_of(states[artifact.key]) for artifact in artifacts)
        rows.append([name, str(len(artifacts)), *(str(counts[group] or "") for group in GROUPS)])
    if rows:
        print_table(["study", "artifacts", *GROUPS], rows, right=frozenset(range(1, 2 + len(GROUPS))))
        say()


def _detail(row: dict[str, Any]) -> str:
    parts = [f"on {row['device']}"] if row.get("device") else []
    if "steps" in row:
        parts.append(f"step {row.get('step', 0)}/{row['steps']}")
        if row["state"] == "running" and row.get("eta_seconds") is not None:
            parts.append(f"{duration(row['eta_seconds'])} left")
    if row.get("waits_for"):
        parts.append(f"waits for {row['waits_for']}")
    if row.get("reason"):
        parts.append(str(row["reason"]))
    if row.get("cause"):
        parts.append(str(row["cause"]))
    if row.get("error") and row["error"] != row.get("cause"):
        parts = [p for p in parts if p == row.get("cause")] + [str(row["error"])]
    if row.get("jobs"):
        jobs = row["jobs"]
        parts.append(f"job {jobs[0]}" + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""))
    if row.get("attempts", 0) > 1:
        parts.append(f"{row['attempts']} attempts")
    return ", ".join(parts)
