"""A plan, in words and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from pdstudy.cli.machine_tables import Here, machine_lines
from pdstudy.cli.plan_price import next_step, price_line
from pdstudy.cli.tables import print_table
from pdstudy.cli.terminal import STYLE_OF, say, say_warning
from pdstudy.core.format import device_time, duration, hours, si, si_column, size
from pdstudy.core.streams import printable
from pdstudy.launch.schedule import wall_hours
from pdstudy.plan.account import (
    Tally,
    account,
    charges,
    flops_by_stage,
    tallies,
    tasks_not_priced,
    teacher_work,
    totals,
)
from pdstudy.plan.artifact import Artifact, RunArtifact
from pdstudy.plan.artifact_state import GROUPS, group_of
from pdstudy.plan.cost import active_parameters, sizes
from pdstudy.plan.detectable import detectable
from pdstudy.plan.explain import explain
from pdstudy.plan.members import artifacts_by_study
from pdstudy.plan.plan import Plan
from pdstudy.plan.store_bytes import Stored, reading, stored
from pdstudy.plan.text_price import text_price
from pdstudy.workspace.layout import Workspace

MAX_ROWS = 60
"""Rows of a table of artifacts; `--json` has them all."""

WORDS = {"evaluate": "to evaluate", "again": "to train again"}
"""States in words, where `--json` has others."""


def print_plan(plan: Plan, workspace: Workspace, here: Here, *, why: bool, call: str, sd: float | None = None) -> None:
    """Print a plan; `call` is the study as it was named on the command line, for the hint at what to do next; `sd` as
    in `detectable`."""
    say(price_line(plan, here), style="bold")
    say(f"workspace {workspace.root}\n")
    print_artifacts(plan)
    if why:
        say()
        for run in plan.runs:
            say(_why(workspace, run))
    say()
    if plan.todo:
        device = plan.study.machine.unit.removesuffix("-hours")
        chain = duration(3600 * totals(plan)["longest_chain_hours"])
        say(f"longest chain: {chain} at one {device} a run")
    say(f"at {plan.rate / 1e9:,.3g} GFLOP/s per device: {plan.rate_source}")
    for line in machine_lines(plan, here):
        say(line)
    for line in _experts(plan):
        say(line)
    print_account(plan)
    for each in detectable(plan.study, workspace, sd):
        say(printable(str(each)))
    for warning in (*plan.warnings, *here.warnings(plan)):
        say_warning(warning)
    say(f"next: {next_step(plan, here, call)}", style="bold")


def _experts(plan: Plan) -> list[str]:
    """A line for each mixture of experts, with the first of its runs."""
    first = {run.run.student: run for run in reversed(plan.runs) if active_parameters(run.run) is not None}
    return [
        f"experts: of the {si(sizes(run.run)[1])} parameters of {run.label} {si(active_parameters(run.run) or 0)} are "
        f"active in a token, whose FLOPs count"
        for run in reversed(first.values())
    ]


def print_artifacts(plan: Plan) -> None:
    """Print a line for each artifact; of a folder a row per study before, and of many those that are to make alone,
    that which failed first."""
    artifacts = list(plan.artifacts)
    _print_studies(plan)
    if len(artifacts) > MAX_ROWS:
        todo = [artifact for artifact in artifacts if not artifact.done]
        artifacts = sorted(todo, key=lambda artifact: GROUPS.index(group_of(artifact.state)))
    shown = artifacts[:MAX_ROWS]
    rows = [
        [a.kind, a.label, flops, duration(plan.seconds(a.flops)), size(a.bytes), _state(a)]
        for a, flops in zip(shown, si_column([a.flops for a in shown]), strict=True)
    ]
    if rows:
        header = ["stage", "artifact", "FLOPs", "device time", "disk", "state"]
        styles = [STYLE_OF[group_of("done" if a.done else a.state)] for a in shown]
        print_table(header, rows, right=frozenset({2, 3, 4}), styles=styles)
    if len(artifacts) > MAX_ROWS:
        say(f"... and {len(artifacts) - MAX_ROWS} more to make (--json shows all)")


def _state(artifact: Artifact) -> str:
    return "done" if artifact.done else WORDS.get(artifact.state, artifact.state)


def _print_studies(plan: Plan) -> None:
    """Print a row for each study of a collection: what it needs, and the price of what is to make of it."""
    members = artifacts_by_study(plan)
    prices = [sum(artifact.flops for artifact in artifacts if not artifact.done) for artifacts in members.values()]
    rows = []
    for (name, artifacts), flops, words in zip(members.items(), prices, si_column(prices), strict=True):
        todo = sum(not artifact.done for artifact in artifacts)
        counts = [len(artifacts), len(artifacts) - todo, todo]
        rows.append([name, *map(str, counts), words, hours(plan.hours(flops))])
    if rows:
        header = ["study", "artifacts", "done", "to make", "FLOPs", plan.study.machine.unit]
        print_table(header, rows, right=frozenset(range(1, 6)))
        say("(what several studies need is in the row of each)\n")


def print_account(plan: Plan) -> None:
    """Print runs by group and budget, FLOPs by stage and scenario, stores, and what their fastest reader needs."""
    for tally in (t for t in tallies(plan) if t.runs):
        say(f"students{tally.group and ', ' + tally.group}: {_counted(tally, plan)}")
    trained, captured, tokens = teacher_work(plan)
    captures = f"{captured} capture" + ("s" if captured != 1 else "")
    say(f"teachers: {trained} trained; teacher inference over {si(tokens)} tokens in all, in {captures}")
    unit = plan.study.machine.unit
    stages = {stage: flops for stage, flops in flops_by_stage(plan).items() if flops}
    made = [
        f"{stage} {words} ({device_time(plan.hours(flops), unit)})"
        for (stage, flops), words in zip(stages.items(), si_column([*stages.values()]), strict=True)
    ]
    say("FLOPs: " + ", ".join(made))
    if (texts := text_price(plan)) is not None:
        cores = plan.study.machine.cores
        took = duration(3600 * texts[1])
        say(f"texts: {size(texts[0])} to tokenise, about {took} on {cores} core{'s' * (cores > 1)}")
    if names := tasks_not_priced(plan):
        say(f"tasks without a price: {', '.join(names)}")
    charged = vars(charges(plan))
    words = si_column([value or 0.0 for value in charged.values()])
    shown = (f"{k} {'not known' if v is None else w}" for (k, v), w in zip(charged.items(), words, strict=True))
    say("with the teacher charged for: " + ", ".join(shown))
    reader, machine = reading(plan), plan.study.machine
    if reader is not None:
        at_most = size(sum(store.bytes for store in plan.stores))
        say(f"stores: {at_most} at most, every token keeping all k entries and draws")
        for each in stored(plan):
            say(_expected(each))
        needed = f"{size(reader.bytes_per_second)}/s and {reader.cores:.2g} cores to decode it"
        there = f"{size(machine.read_bytes_per_second)}/s and {machine.cores} of a node"
        verdict = "" if reader.fits else ": too much; store fewer bytes (KD.stored) or read on more nodes"
        say(f"fastest reader, {printable(reader.run)}: {needed}, of {there}{verdict}")


def _counted(tally: Tally, plan: Plan) -> str:
    budgets = tally.budgets
    counts = ", ".join(f"{runs} of {si(tokens)} tokens" for tokens, runs in budgets)
    if len(budgets) > 8:
        counts = f"{len(budgets)} budgets of {si(budgets[-1][0])} to {si(budgets[0][0])} tokens"
    price = device_time(plan.hours(tally.flops), plan.study.machine.unit)
    parts = [f"{tally.runs} runs, {si(tally.tokens)} tokens in all ({counts}), {price}"]
    if tally.branches:
        share = tally.saved / (tally.flops + tally.saved)
        parts.append(f"{tally.branches} go on from another's trunk, which saves {share:.0%}")
    if tally.evaluated:
        tuned = f", {tally.finetuned} of them finetuned first" if tally.finetuned else ""
        parts.append(f"{tally.evaluated} models evaluated on tasks{tuned}")
    return "; ".join(parts)


def _expected(each: Stored) -> str:
    """Bytes of the stores of one cut at a mean number of entries, beside what the source of that number counts."""
    kept, share = each.kept, 1e11 / each.tokens
    cut = f"top-{kept.cut.p:g}-{'inf' if kept.cut.k is None else kept.cut.k}"
    ours, coded, theirs = (
        f"{size(number)} ({size(number * share)} for 100B)" for number in (each.expected, each.coded, each.published)
    )
    return (
        f"  of {si(each.tokens)} tokens at the {kept.entries:g} entries that {cut} keeps in "
        f"{kept.source}: {ours}, coded {coded}; at the {kept.bytes_per_entry:g} bytes each counted there, {theirs}"
    )


def _why(workspace: Workspace, run: RunArtifact) -> str:
    label = printable(run.label)
    if run.done:
        return f"{label}: exists as {run.key}"
    if run.state not in ("new", "queued"):
        return f"{label}: {run.state}, {run.key}"
    nearest = explain(workspace, run)
    if not nearest:
        return f"{label}: new, nothing like it exists"
    fields = ", ".join(
        f"{path} = {short_value(here)} (there: {short_value(there)})" for path, here, there in nearest[:4]
    )
    more = f" and {len(nearest) - 4} more" if len(nearest) > 4 else ""
    return f"{label}: new; the nearest that exists differs in {fields}{more}"


def short_value(value: Any) -> str:
    """A value of a configuration in few characters: the class of an object, the entries of a list."""
    if isinstance(value, dict):
        return str(value.get("is", "..."))
    if isinstance(value, list):
        return f"[{', '.join(map(short_value, value))}]"
    return str(value)


def plan_json(plan: Plan, workspace: Workspace, here: Here, *, why: bool, sd: float | None = None) -> dict[str, Any]:
    """A plan as plain data; `why` adds where a run differs from the nearest that exists; `sd` as in `detectable`."""
    rows = []
    for artifact in plan.artifacts:
        row: dict[str, Any] = {
            "kind": artifact.kind, "key": artifact.key, "label": artifact.label, "done": artifact.done,
            "state": artifact.state, "flops": artifact.flops, "seconds": plan.seconds(artifact.flops),
            "bytes": artifact.bytes, "needs": list(artifact.needs), "cells": list(artifact.cells),
            "devices": here.layout(plan, artifact).count,
        }  # fmt: skip
        memory = here.memory(plan, artifact)
        row["device_bytes"] = None if memory is None else vars(memory)
        if why and isinstance(artifact, RunArtifact) and not artifact.done:
            row["differs"] = [{"field": f, "here": a, "there": b} for f, a, b in explain(workspace, artifact)]
        rows.append(row)
    return {
        "study": plan.study.name,
        "items": rows,
        "totals": totals(plan),
        "devices": [gpu.id for gpu in here.gpus],
        "wall_hours": wall_hours(plan, here.devices, here.workers) if here.prices(plan) else None,
        "account": account(plan),
        "rate": plan.rate,
        "rate_source": plan.rate_source,
        "detectable": [
            asdict(each) | {"effect": None if each.effect == math.inf else each.effect}
            for each in detectable(plan.study, workspace, sd)
        ],
        "warnings": [*plan.warnings, *here.warnings(plan)],
    }
