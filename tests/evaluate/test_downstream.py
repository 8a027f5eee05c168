"""Downstream tasks through lm-eval, which is an extra: tests that run it are left out where it is not installed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Literal

import pytest

from pdstudy.config.downstream import OFFLINE_SUITE, PAPER_SUITE, Downstream, ItemFile, Task
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.core.validation import problems
from pdstudy.evaluate.lm_eval_run import _check_metric, _first_filter, _gold, _item, evaluate_downstream
from pdstudy.evaluate.lm_eval_tasks import _file_lines


def test_the_result_is_known_by_the_questions_alone(tmp_path: Path) -> None:
    at_end = Downstream(tasks=OFFLINE_SUITE, limit=10)
    on_the_way = Downstream(tasks=OFFLINE_SUITE, limit=10, at=(1000, 2000))
    folder = at_end.key("abc", None)
    assert folder == on_the_way.key("abc", None)
    assert folder != on_the_way.key("abc", 5)
    assert folder != Downstream(tasks=OFFLINE_SUITE, limit=11).key("abc", None)
    assert decode(encode(on_the_way)) == on_the_way


def test_a_missing_file_is_named_with_what_it_should_hold() -> None:
    found = [str(p) for p in problems(Downstream(tasks=PAPER_SUITE))]
    assert len(found) == 3
    assert "tasks[4].items.path: found 'evaluation/kbqa.jsonl'" in found[0]
    assert '{"query": ..., "answer": ...}' in found[0]


def test_items_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    row = json.dumps({"query": "1 + 1 =", "choices": ["2", "3"], "gold": 0}) + "\n"
    keys = []
    for name, text in {"one": row, "other": row, "more": row + row}.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text)
        keys.append(fingerprint(Task(name="sums", items=ItemFile(path=str(path)))))
    assert keys[0] == keys[1] != keys[2]


def test_faults_of_a_task_are_all_said() -> None:
    task = Task(name="a/b", shots=-1)
    assert {p.field for p in problems(task)} == {"name", "shots", "items"}
    own = Task(name="mine", official="piqa/piqa.yaml", items=OFFLINE_SUITE[0].items, shots_from="validation")
    assert [p.field for p in problems(own)] == ["shots_from"]
    assert [p.field for p in problems(Downstream(tasks=(OFFLINE_SUITE[0],) * 2, limit=0))] == ["tasks", "limit"]


def test_bits_of_the_gold_answer() -> None:
    sample = {
        "doc_id": 3, "doc": {}, "target": "1", "filter": "none", "acc": 1.0, "acc_norm": 0.0,
        "arguments": [("Q", " red"), ("Q", " blüe")], "filtered_resps": [(-2.0, False), (-1.0, True)],
    }  # fmt: skip
    item = _item("colours", sample)
    assert item["loglikelihoods"] == [-2.0, -1.0]
    assert (item["gold"], item["bytes"]) == (1, 6)
    assert item["bits"] == pytest.approx(1.4426950408889634)
    assert (item["correct"], item["correct_norm"]) == (1.0, 0.0)
    # WinoGrande names the ending as its target, and the right beginning in the document.
    assert _gold({"target": " was late.", "doc": {"answer": "2"}}, 2) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['{"query": "Q", "choices": ["a", "b"], "gold": 2}'], ':1: found \'{"query": "Q"'),
        (['{"query": "Q", "answer": "a"}', '{"query": "Q", "choices": ["a"], "gold": 0}'], ":2: found"),
        (['{"query": "Q", "answer": "a"}', ""], ":2: found ''"),
        (['{"query": "Q", "choices": "ab", "gold": "0"}'], ":1: found"),
        ([], "found no line"),
    ],
)
def test_each_row_of_a_users_file_is_looked_at(tmp_path: Path, rows: list[str], said: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(rows) + ("\n" if rows else ""))
    with pytest.raises(ConfigError) as found:
        _file_lines(Task(name="mine", items=ItemFile(path=str(path))), ItemFile(path=str(path)))
    assert said in str(found.value)


def test_too_few_examples_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"query": "Q", "answer": "a"}\n')
    task = Task(name="mine", items=ItemFile(path=str(path), examples=str(path)), shots=5)
    with pytest.raises(ConfigError, match="found 1 rows; 'mine' takes 5 examples"):
        _file_lines(task, ItemFile(path=str(path), examples=str(path)))
    assert any("fewshot_split: train" in line for line in _file_lines(dataclasses.replace(task, shots=1), task.items))  # type: ignore[arg-type]


def test_without_lm_eval_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # what Python does for a module that is not there
    with pytest.raises(ConfigError, match=r"pip install 'pdstudy\[eval\]'"):
        evaluate_downstream(tmp_path, Downstream(tasks=OFFLINE_SUITE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_several_filters_the_first_of_each_part_counts() -> None:
    """GSM8K has every item under "strict-match", then under "flexible-extract"."""
    items = [
        {"part": part, "doc": doc, "filter": name, "correct": correct}
        for part in ("gsm8k", "more")
        for name, correct in (("strict-match", 0.0), ("flexible-extract", 1.0))
        for doc in (0, 1)
    ]
    assert _first_filter(items) == [
        {"part": part, "doc": doc, "correct": 0.0} for part in ("gsm8k", "more") for doc in (0, 1)
    ]


@pytest.mark.parametrize(("metric", "known"), [("acc", True), ("exact_match", False)])
def test_a_metric_that_a_task_does_not_have_is_refused_and_no_other_shown_for_it(
    metric: Literal["acc", "exact_match"], known: bool
) -> None:
    task = Task(name="colours", official="piqa/piqa.yaml", metric=metric)
    results = {"alias": "colours", "acc,none": 0.5, "acc_stderr,none": "N/A", "acc_norm,none": 0.5}
    if known:
        _check_metric(task, results)
    else:
        with pytest.raises(ConfigError, match="'colours': metric is 'exact_match'; lm-eval computes acc, acc_norm for"):
            _check_metric(task, results)
