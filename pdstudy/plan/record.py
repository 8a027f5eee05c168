"""A study's record in the workspace: its runs with their labels, what is measured of them, and the outputs wanted.

`run` and `submit` write it; reports are made of it, so that an analysis needs neither the study file nor the code that
made it. A study is a view: the runs belong to the workspace.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import TeacherText, split_of
from pdstudy.config.logits import Capture
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Online, Pretrained, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.identity import encode, fingerprint
from pdstudy.plan.cost import active_parameters, sizes
from pdstudy.plan.plan import Plan
from pdstudy.workspace.layout import Workspace


def record_path(workspace: Workspace, name: str) -> Path:
    return workspace.root / "studies" / f"{name}.json"


def make_record(plan: Plan) -> dict[str, Any]:
    """The record of a plan, plain JSON."""
    study = plan.study
    artifacts = {a.key: a for a in plan.artifacts}
    taught_by = {cell.name: _teacher_key(cell.run) for cell in study.cells}
    taught = set(taught_by.values())
    # Those that are no cells, or teach: a run that others start from is one of these, too.
    teachers = [r for r in plan.runs if r.role != "finetune" and (not r.cells or r.key in taught)]
    return {
        "study": study.name,
        "title": study.title or study.name,
        "about": study.about,
        "seeds": list(study.seeds),
        "axes": _axes(plan),
        "baseline": dict(study.baseline),
        "cells": [
            {
                "name": cell.name,
                "labels": dict(cell.labels),
                "seed": cell.seed,
                "run": plan.keys[cell.name],
                "planned": {"flops": artifacts[plan.keys[cell.name]].flops, **_sizes(cell.run)},
                "teacher": taught_by[cell.name],
                "teacher_losses": _losses_key(cell.run),
                "seen": _seen_tokens(cell.run),
                "downstream": _answers(study.downstream_of(cell), cell.run),
            }
            for cell in study.cells
        ],
        "teachers": [
            {
                "run": r.key,
                "name": f"{'teacher' if r.key in taught else r.role}, {r.label}",
                "planned": {"flops": r.flops},
            }
            for r in teachers
        ],
        "models": _models(plan),
        "finetuned": [{"run": r.key, "planned": {"flops": r.flops}} for r in plan.runs_as("finetune")],
        "stores": _stores(plan),
        "captures": [{"name": name, "store": _store_of(plan, each)} for name, each in study.captures.items()],
        "corpora": [{"key": c.key, "name": c.label} for c in plan.corpora],
        "evaluations": [
            {"eval": fingerprint(e), "split": split_of(e), "heldout": encode(e)} for e in study.evaluations
        ],
        "downstream": [encode(tasks) for tasks in study.downstream],
        "outputs": [encode(o) for o in study.outputs],
        "machine": vars(study.machine),
        "rate": plan.rate,
        "rate_source": plan.rate_source,
    }


def write_record(plan: Plan, workspace: Workspace) -> None:
    """Store the record. What was planned when the study was first run is kept, for planned against actual."""
    path = record_path(workspace, plan.study.name)
    record = make_record(plan)
    old = read_json(path)
    record["first_planned"] = (old or {}).get("first_planned") or {
        "time": time.time(),
        "rate": plan.rate,
        "rate_source": plan.rate_source,
    }
    write_json(path, record)


def read_record(workspace: Workspace, name: str) -> dict[str, Any]:
    record = read_json(record_path(workspace, name))
    if record is None:
        raise ConfigError(f"study {name!r} has not been run in {workspace.root}; `pdstudy run` starts it")
    return record


def _stores(plan: Plan) -> list[dict[str, Any]]:
    """One row per store to capture; each stretch of it is an artifact of its own."""
    rows: dict[str, dict[str, Any]] = {}
    for store in plan.stores:
        row = rows.setdefault(store.key.partition("@")[0], {"flops": 0.0, "bytes": 0.0})
        row["flops"] += store.flops
        row["bytes"] += store.bytes
    return [{"key": key, "planned": planned} for key, planned in rows.items()]


def _answers(suites: Sequence[Downstream], run: Run) -> list[dict[str, Any]]:
    """The keys of the answers of a cell's models, on its way and at its end, there or not."""
    return [
        {
            "suite": number,
            "key": tasks.answers(run, step),
            "step": run.num_steps if step is None else step,
            "tokens": run.num_tokens if step is None else step * run.tokens_per_step,
            "final": step is None,
        }
        for number, tasks in enumerate(suites)
        for step in tasks.steps(run)
    ]


def _store_of(plan: Plan, wanted: Capture) -> str:
    """Key of the store that holds a capture."""
    of_spec = (each for each in plan.stores if each.need.spec == wanted.spec)
    return next(each.key for each in of_spec if each.need.coverage.admits(wanted.coverage)).partition("@")[0]


def _axes(plan: Plan) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for cell in plan.study.cells:
        for name, label in cell.labels.items():
            levels = axes.setdefault(name, [])
            if label not in levels:
                levels.append(label)
    return axes


def _sizes(run: Run) -> dict[str, Any]:
    non_embedding, total, _ = sizes(run)
    active = active_parameters(run)
    mixture = {} if active is None else {"active": active}
    text = run.data.tokens
    return {"non_embedding": non_embedding, "total": total, **mixture, "tokens": run.num_tokens, "text": text}


def _models(plan: Plan) -> list[dict[str, Any]]:
    """Teachers in folders, each once for every corpus and view of its students."""
    priced = {each.key: each.flops for each in plan.teacher_losses}
    found = {}
    for cell in plan.study.cells:
        key, teacher = _losses_key(cell.run), cell.run.teacher
        if key is not None and key not in found and isinstance(teacher, Pretrained):
            name = Path(teacher.path).name
            found[key] = {"key": key, "path": teacher.path, "name": name, "planned": {"flops": priced.get(key, 0.0)}}
    return list(found.values())


def _losses_key(run: Run) -> str | None:
    """The key of the held-out losses of a run's teacher, where that is a folder."""
    if not isinstance(run.teacher, Pretrained):
        return None
    return fingerprint(TeacherText(teacher=run.teacher, corpus=run.corpus, view=run.view))


def _seen_tokens(run: Run) -> int | None:
    """Tokens of a run's text that are in its teacher's slice too; None where they are not known."""
    teacher = run.teacher.run if isinstance(run.teacher, Online) else run.teacher
    return teacher.data.shared(run.data) if isinstance(teacher, Run) else None


def _teacher_key(run: Run) -> str | None:
    """The key of a run's teacher, which is that of its run directory where it is trained here."""
    teacher = normal_form(run).teacher
    if teacher is None:
        return None
    return fingerprint(teacher.run if isinstance(teacher, Online) else teacher)
