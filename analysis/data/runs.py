"""Run directories to tables: a row per run, and a row per held-out evaluation. Knows files, not the trainer.

A *record* (plain JSON, written by `pdstudy run` under `<workspace>/studies/`) lists a study's combinations of arm and
seed (column `cell`), with their labels and the run of each. Runs that failed, diverged, are damaged or have not started
have rows too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pdstudy.analysis.data.study_record import Record, axis_column, axis_title
from pdstudy.analysis.data.task_answers import answer_columns, load_answers, shown_answers, task_columns
from pdstudy.core.files import read_jsonl
from pdstudy.core.run_files import find_damage, find_row_damage, read_run_file, whole_run_file
from pdstudy.core.run_state import DAMAGED, TRAINED, run_state

OF_TEACHER = ("validation_loss", "test_loss", "validation_accuracy", "test_accuracy")
"""Columns of a teacher's own evaluations, each there with "teacher_" in front."""


_FLOATS = (
    "train_loss", "validation_loss", "test_loss", *(f"teacher_{name}" for name in OF_TEACHER), "flops_student",
    "flops_evaluation",
    "flops_planned", "seconds_train", "seconds_evaluate", "validation_recalibrated", "test_recalibrated",
    "validation_accuracy", "test_accuracy", "validation_accuracy_top5", "test_accuracy_top5", "validation_ece",
    "test_ece", "kl", "agreement", "kept_entries", "kept_mass", "responses_loss", "responses_accuracy",
)  # fmt: skip


SCORES = ("loss", "bits_per_byte", "recalibrated", "accuracy", "accuracy_top5", "ece")
"""Columns of a held-out evaluation, each there with the name of its split in front."""


PROBED = ("kl", "agreement", "kept_entries", "kept_mass")
"""Columns of a run's last probe."""


RESPONSE_SCORES = ("loss", "accuracy")
"""Columns of a run's last evaluation of responses, there with "responses_" in front."""


def load_runs(workspace: Path, record: Record) -> pd.DataFrame:
    """One row per combination of arm and seed of a study.

    Columns: `study`, `cell`, one per axis (its label; see `axis_column`), `seed`, `run` (key), `state`,
    `steps`, `tokens`, `non_embedding`, `total` and, where there are mixtures of experts, `active` (parameters; those
    that a token goes through), `validation_loss`, `test_loss` (nats per token, the last
    of the study's evaluations of each split, at the end), `NAME_test_loss` (of other corpora), `*_bits_per_byte`,
    `responses_loss`, `responses_accuracy` (of held-out examples, where the study evaluates them), `train_loss`,
    `flops_student`,
    `flops_evaluation`, `flops_planned`, `seconds_train`, `seconds_evaluate`, `tokens_per_second`, `peak_memory_bytes`,
    `attempts`, `teacher` (key of its run, or of its folder), `teacher_non_embedding`, `teacher_total`, `teacher_tokens`
    (those that it read, where they are known), `teacher_validation_loss`, `teacher_test_loss`, `teacher_*_accuracy`,
    `error`, every field of the configuration as `config.FIELD`, and downstream scores as `tasks.NAME` (see
    `pdstudy.analysis.data.task_answers.answer_columns`)."""
    teachers = teacher_outcomes(workspace, record)
    rows = []
    for cell in record["cells"]:
        row: dict[str, Any] = {"study": record["study"], "cell": cell["name"]}
        ended_as = outcome(workspace / "runs" / cell["run"], record)
        row |= {axis_column(axis): label for axis, label in cell["labels"].items()}
        row |= {"seed": cell["seed"], "run": cell["run"]} | ended_as
        row["flops_planned"] = cell["planned"]["flops"]
        for name in ("non_embedding", "total", "tokens"):
            row[name] = cell["planned"][name] if row[name] is None else row[name]
        if "active" in cell["planned"]:
            row["active"] = cell["planned"]["active"]
        teacher = teachers.get(cell.get("teacher_losses") or cell["teacher"], {})
        row["teacher"] = cell["teacher"]
        row |= {f"teacher_{name}": teacher.get(name) for name in ("non_embedding", "total", "tokens", *OF_TEACHER)}
        row |= _config(workspace, cell["run"])
        rows.append(row)
    if not rows:  # a study of stores alone
        return pd.DataFrame(columns=["study", "cell", "seed", "run", "state", *_FLOATS])
    others = (f"{split}_{name}" for split in other_splits(record) for name in SCORES)
    frame = pd.DataFrame(rows).astype(dict.fromkeys((*_FLOATS, *others), float))
    return frame.join(answer_columns(load_answers(workspace, record)), on="cell")


def load_evaluations(workspace: Path, record: Record) -> pd.DataFrame:
    """One row per held-out evaluation of every run of the study, in time: `cell`, axis labels, `seed`, `run`, `step`,
    `tokens`, `split`, `nats_per_token`, `bits_per_byte`, `final`."""
    wanted = {e["eval"]: e["split"] for e in record["evaluations"] if e["eval"] in heldout(record)}
    rows = []
    for cell in record["cells"]:
        for row in _whole_rows(workspace / "runs" / cell["run"], "evals.jsonl"):
            if row["eval"] in wanted:
                kept = {k: row[k] for k in ("step", "tokens", "bits_per_byte", "final")}
                kept["split"] = wanted[row["eval"]]
                labels = {axis_column(axis): label for axis, label in cell["labels"].items()}
                made = {"cell": cell["name"], **labels, "seed": cell["seed"], "run": cell["run"], **kept}
                rows.append(made | {"nats_per_token": row["loss"]})
    return pd.DataFrame(rows)


def load_metrics(workspace: Path, record: Record) -> pd.DataFrame:
    """One row per logged training step of every run of the study: `cell`, `seed`, `run`, and the logged columns."""
    rows = []
    for cell in record["cells"]:
        for row in _whole_rows(workspace / "runs" / cell["run"], "metrics.jsonl"):
            rows.append({"cell": cell["name"], "seed": cell["seed"], "run": cell["run"], **row})
    return pd.DataFrame(rows)


def _whole_rows(directory: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a file; none of one with a damaged row, which `outcome` tells."""
    return iter(()) if find_row_damage(directory, name) else read_jsonl(directory / name)


def arm_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, seeds averaged: states, test and validation loss with their spread over seeds, and
    of tasks the mean accuracy in per cent and the mean bits per byte. Empty where there are no runs."""
    if not len(frame):
        return pd.DataFrame()
    seen = list(frame.columns)
    axes = seen[seen.index("cell") + 1 : seen.index("seed")]
    rows = []
    for labels, part in frame.groupby(axes, sort=False) if axes else [((), frame)]:
        done, trained = part[part["state"] == "done"], part[part["state"].isin(TRAINED)]
        row: dict[str, Any] = dict(zip(map(axis_title, axes), labels, strict=True))
        row |= {"N (non-embedding)": f"{int(part['non_embedding'].iloc[0]):,}", "runs": f"{len(done)}/{len(part)}"}
        others = [c.removesuffix("_loss") for c in seen if c.endswith(("_validation_loss", "_test_loss"))]
        for split in ("validation", "test", *(other for other in others if not other.startswith("teacher_"))):
            losses = trained[f"{split}_loss"].dropna()
            spread = f" ± {losses.std():.3f}" if len(losses) > 1 else ""
            row[f"{split.replace('_', ' ')} loss"] = f"{losses.mean():.3f}{spread}" if len(losses) else "-"
        speed = trained["tokens_per_second"].astype(float).mean()
        row["tokens/s"] = f"{speed:,.0f}" if np.isfinite(speed) else "-"
        means = shown_answers(trained, [c for c in task_columns(frame) if ".mean" in c])
        row |= {_mean_heading(column): value for column, value in means.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _mean_heading(column: str) -> str:
    """Heading of `tasks.mean`; "tasks2: ..." of a second suite."""
    suite, _, measure = column.partition(".mean")
    named = "mean bits per byte" if measure else "mean accuracy (%)"
    return named if suite == "tasks" else f"{suite}: {named}"


def answer_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and measure, a column per task, seeds averaged; empty where no model has been evaluated."""
    seen = list(frame.columns)
    axes = seen[seen.index("cell") + 1 : seen.index("seed")]
    rows = []
    for labels, part in frame.groupby(axes, sort=False) if axes else [((), frame)]:
        arm = dict(zip(map(axis_title, axes), labels, strict=True))
        for suffix, measure in (("", "accuracy (%)"), (".bits_per_byte", "bits per byte")):
            wanted = [c for c in task_columns(frame) if c.endswith(".bits_per_byte") == bool(suffix)]
            if wanted:
                found = shown_answers(part[part["state"].isin(TRAINED)], wanted)
                rows.append(
                    arm | {"": measure} | {c.removesuffix(suffix).removeprefix("tasks."): found[c] for c in wanted}
                )
    return pd.DataFrame(rows).fillna("-")


def heldout(record: Record) -> set[str]:
    """Keys of the evaluations whose losses are reported; a probe's few tokens are not among them."""
    return _evaluation_keys(record, "Heldout")


def other_splits(record: Record) -> list[str]:
    """Splits of corpora other than that of the runs on which they are evaluated, such as "code_test"."""
    found = (e["split"] for e in record["evaluations"] if e["heldout"].get("corpus") is not None)
    return list(dict.fromkeys(found))


def _evaluation_keys(record: Record, kind: str) -> set[str]:
    return {e["eval"] for e in record["evaluations"] if e["heldout"]["is"] == kind}


def final_evaluations(result: Record, wanted: Collection[str]) -> list[dict[str, Any]]:
    """A finished run's evaluations that this study declares: another study may have added its own."""
    return [e for e in result.get("evals", []) if e["eval"] in wanted]


def teacher_outcomes(workspace: Path, record: Record) -> dict[str, dict[str, Any]]:
    """`outcome` of every teacher of a study: by key of its run, or by that of its folder's held-out losses."""
    trained = {each["run"]: workspace / "runs" / each["run"] for each in record["teachers"]}
    folders = {each["key"]: workspace / "teachers" / each["key"] for each in record.get("models", ())}
    return {key: outcome(directory, record) for key, directory in {**trained, **folders}.items()}


def outcome(directory: Path, record: Record) -> dict[str, Any]:
    """State and results of the run in a folder, the same columns whatever its state."""
    damage = find_damage(directory) or find_row_damage(directory, "evals.jsonl")
    result = None if damage else read_run_file(directory, "result.json")
    status = {"state": DAMAGED, "error": damage} if damage else read_run_file(directory, "status.json") or {}
    found: dict[str, Any] = result or {}
    parameters, flops, seconds = (found.get(k, {}) for k in ("parameters", "flops", "seconds"))
    row: dict[str, Any] = {
        "state": run_state(result, status, [e["eval"] for e in record["evaluations"]]),
        "steps": found.get("steps", status.get("step")),
        "tokens": found.get("tokens"),
        "non_embedding": parameters.get("non_embedding"),
        "total": parameters.get("total"),
        "train_loss": found.get("train_loss"),
        "flops_student": flops.get("student"),
        "flops_evaluation": flops.get("evaluation"),
        "seconds_train": seconds.get("train"),
        "seconds_evaluate": seconds.get("evaluate"),
        "tokens_per_second": found.get("tokens_per_second"),
        "peak_memory_bytes": found.get("peak_memory_bytes"),
        "attempts": found.get("attempts"),
        "error": status.get("error") or found.get("reason"),
    }
    made = final_evaluations(found, heldout(record))
    named = {e["eval"]: e["split"] for e in record["evaluations"]}
    for split in ("validation", "test", *other_splits(record)):
        last: dict[str, Any] = next((e for e in reversed(made) if named[e["eval"]] == split), {})
        for name in SCORES:
            row[f"{split}_{name}"] = last.get(name)
    for prefix, names, kind in (("", PROBED, "Probe"), ("responses_", RESPONSE_SCORES, "HeldoutResponses")):
        last = next(reversed(final_evaluations(found, _evaluation_keys(record, kind))), {})
        row |= {f"{prefix}{name}": last.get(name) for name in names}
    return row


def _config(workspace: Path, key: str) -> dict[str, Any]:
    """The run's configuration as flat `config.FIELD` columns; the teacher's own is left to its row."""
    stored = whole_run_file(workspace / "runs" / key, "config.json")
    return dict(_flat(stored["run"], "config")) if stored else {}


def _flat(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield f"{at}.is", value.get("is")
        for name, item in value.items():
            if name not in ("is", "teacher", "corpus"):
                yield from _flat(item, f"{at}.{name}")
    else:
        yield at, json.dumps(value) if isinstance(value, list) else value
