"""Downstream tasks of one model folder by lm-eval, its results in files that are whole or absent.

results.json   per task: items, the shown `metric` and its `value`, all of lm-eval's metrics, bits per byte of the gold
               answer (where it is scored by likelihood), the share `cut` of prompts that were longer than the model's
               context (absent: none), the tasks as declared, and versions
lm-eval/       MODEL/results_DATE.json, all tasks as lm-eval's command line writes them, for tools that read its results
items.jsonl    per item: task, doc, correct, loglikelihoods of the choices, gold, and the bits and bytes of the gold

lm-eval makes the prompts, the scores and the metrics; this module gives it the items, and keeps what paired tests
need.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from pdstudy.config.downstream import Downstream, Task
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json, write_jsonl
from pdstudy.core.identity import encode, fingerprint
from pdstudy.core.progress import Progress, no_progress
from pdstudy.core.validation import problems
from pdstudy.evaluate.lm_eval_tasks import task_folder

SEED = 0
"""Seed of lm-eval's draws of examples, which are then the same for every model."""


def evaluate_downstream(
    model: Path,
    downstream: Downstream,
    directory: Path,
    *,
    bos: str | None = None,
    progress: Progress = no_progress,
    batch_size: int = 16,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Evaluate a transformers folder on all tasks; write items.jsonl and, last, results.json, and return the latter.

    `dtype` is what the model computes in. By default that is float32 on a CPU, since not every CPU has instructions for
    the bfloat16 that most folders name, and elsewhere what the folder names. Prompts begin with the token `bos`, as
    the documents did that the model has read, and with nothing else that its tokenizer might put there.

    Does nothing where results.json is there. Tasks that were evaluated before an interruption are kept. Raises
    `ConfigError` where results.json is about other tasks, where lm-eval is not installed, where the model cannot be
    loaded whole, where a file of items is missing or not as `ItemFile` says, and where an official task's data set
    cannot be reached, where lm-eval fails over a task, and where a task does not have the metric that is to be shown.
    """
    found: dict[str, Any] | None = read_json(directory / "results.json")
    if found is not None:
        questions = fingerprint(downstream.questions)
        if found.get("questions", questions) != questions:  # results of the first version do not say
            raise ConfigError(f"{directory} has the results of other tasks; name another folder for these")
        return found
    _require_lm_eval()
    faults = [str(problem) for problem in problems(downstream)]
    if faults:
        raise ConfigError("\n".join(faults))
    import torch

    from pdstudy.distill.teacher.weights import load_causal_lm
    from pdstudy.evaluate.lm_eval_model import ShortContextLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or ("float32" if device == "cpu" else "auto")
    loaded = load_causal_lm(model, dtype=dtype).to(device)
    language_model = ShortContextLM(bos=bos, pretrained=loaded, tokenizer=str(model), batch_size=batch_size)
    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for number, task in enumerate(downstream.tasks):
        progress(f"evaluate {task.name}", number / len(downstream.tasks))
        questions = fingerprint(Downstream(tasks=(task,), limit=downstream.limit))
        kept = directory / "parts" / f"{task.name}-{questions}.json"
        part = read_json(kept)
        if part is None or "lm_eval" not in part:  # of a version that did not keep it
            part = _evaluate_task(language_model, task, downstream.limit)
            write_json(kept, part)
        summary[task.name] = part["summary"]
        rows += part["items"]
        parts.append(part["lm_eval"])
    write_jsonl(directory / "items.jsonl", rows)
    results = {
        "questions": fingerprint(downstream.questions),
        "downstream": encode(downstream.questions),
        "tasks": summary,
        "mean": sum(part["value"] for part in summary.values()) / len(summary),
        "computed": f"{language_model.model.dtype} on {device}".removeprefix("torch."),
        "versions": {name: version(name) for name in ("lm_eval", "transformers", "torch")},
    }
    _write_as_lm_eval(parts, model, directory / "lm-eval")
    write_json(directory / "results.json", results)
    shutil.rmtree(directory / "parts")
    return results


def _evaluate_task(model: Any, task: Task, limit: int | None) -> dict[str, Any]:
    """`summary` and `items` of one task. Raises `ConfigError` where its items are not to be had."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    model.requests = model.cut = 0
    with tempfile.TemporaryDirectory() as folder:
        manager = TaskManager(include_path=str(task_folder(task, Path(folder))), include_defaults=False)
        try:
            done = simple_evaluate(
                model=model,
                tasks=[task.name],
                num_fewshot=task.shots,
                limit=limit,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
                fewshot_random_seed=SEED,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(_unreachable(task, error)) from error
        except (LookupError, TypeError, AttributeError, ImportError, TemplateError) as error:
            raise ConfigError(
                f"task {task.name!r}: lm-eval fails over it ({type(error).__name__}: {error}); items of one's own must "
                f"have the columns and splits that the official task reads; a package that it lacks can be installed"
            ) from error
    _check_metric(task, done["results"][task.name])
    items = [_item(name, sample) for name, samples in done["samples"].items() for sample in samples]
    rows = [{"task": task.name, **item} for item in _first_filter(items)]
    summary = _summary(task, done["results"], rows)
    return {
        "summary": summary | ({"cut": model.cut / model.requests} if model.cut else {}),
        "items": rows,
        "lm_eval": _plain({name: value for name, value in done.items() if name != "samples"}),
    }


def _plain(value: Any) -> Any:
    """A value of lm-eval as JSON keeps it, by lm-eval's own rule: functions and types as text."""
    from lm_eval.utils import handle_non_serializable

    return json.loads(json.dumps(value, default=handle_non_serializable))


def _write_as_lm_eval(parts: Sequence[dict[str, Any]], model: Path, folder: Path) -> None:
    """Write lm-eval's results of all tasks, one call each, as one call for all would have left them."""
    from lm_eval.loggers import EvaluationTracker

    joined = dict(parts[0])
    for part in parts[1:]:
        joined |= {name: {**joined[name], **value} for name, value in part.items() if name in _BY_TASK}
    shutil.rmtree(folder, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args(
        model_source="hf", model_args=f"pretrained={model}", system_instruction="", chat_template="",
        fewshot_as_multiturn=False,
    )  # fmt: skip
    tracker.save_results_aggregated(joined)


_BY_TASK = ("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
"""Fields of lm-eval's results that have an entry per task; of the others those of the first call are kept."""


def _check_metric(task: Task, results: dict[str, Any]) -> None:
    """Raise `ConfigError` where lm-eval does not compute the metric that is to be shown, nor one by item."""
    found = sorted({key.partition(",")[0] for key, value in results.items() if "," in key and "_stderr" not in key})
    if task.metric not in found:
        raise ConfigError(
            f"task {task.name!r}: metric is {task.metric!r}; lm-eval computes {', '.join(found) or 'none'} for it; "
            f"allowed: acc, acc_norm or exact_match where it is among them"
        )


def _require_lm_eval() -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise ConfigError("downstream tasks need the package lm-eval: pip install 'pdstudy[eval]'") from error


def _unreachable(task: Task, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (
        f"task {task.name!r}: its items cannot be read ({type(error).__name__}: {reason}); an official task reads a "
        "hub or its cache: fetch it once where there is network (HF_HOME says where to), or give "
        "items=ItemFile(path=...)"
    )


def _item(name: str, sample: dict[str, Any]) -> dict[str, Any]:
    """The columns of items.jsonl for one sample of lm-eval."""
    correct = next(float(sample[key]) for key in ("acc", "exact_match") if key in sample)
    out: dict[str, Any] = {"part": name, "doc": sample["doc_id"], "filter": sample["filter"], "correct": correct}
    if "acc_norm" in sample:
        out["correct_norm"] = float(sample["acc_norm"])
    responses = sample["filtered_resps"]
    if not isinstance(responses[0], str):
        likelihoods = [float(response[0]) for response in responses]
        out["loglikelihoods"] = likelihoods
        gold = _gold(sample, len(likelihoods))
        if gold is not None:
            answer = sample["arguments"][gold][1]
            out |= {"gold": gold, "bits": -likelihoods[gold] / math.log(2), "bytes": len(answer.encode())}
    return out


def _gold(sample: dict[str, Any], choices: int) -> int | None:
    """Index of the gold choice; None where the sample does not give it (several right answers)."""
    if choices == 1:
        return 0
    target = sample["target"]
    if isinstance(target, str) and not target.strip().isdigit() and "answer" in sample["doc"]:
        # WinoGrande: one ending after several beginnings; the target is the ending, its index counts from 1.
        return int(sample["doc"]["answer"]) - 1
    return int(target) if isinstance(target, int) or str(target).strip().isdigit() else None


def _first_filter(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with several answer filters (GSM8k) list every item once per filter; the first counts."""
    first: dict[str, str] = {}
    for item in items:
        first.setdefault(item["part"], item["filter"])
    return [{k: v for k, v in item.items() if k != "filter"} for item in items if item["filter"] == first[item["part"]]]


def _summary(task: Task, results: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    column = "correct_norm" if task.metric == "acc_norm" else "correct"
    scored = [row for row in rows if "bits" in row]
    metrics = {key: value for key, value in results[task.name].items() if isinstance(value, int | float)}
    out: dict[str, Any] = {"items": len(rows), "metric": task.metric,
                           "value": sum(row[column] for row in rows) / len(rows), "metrics": metrics}  # fmt: skip
    if scored:
        out["bits_per_byte"] = sum(row["bits"] for row in scored) / sum(row["bytes"] for row in scored)
    return out
