"""Evaluating a student that pdstudy trained and exported by lm-eval: only where the extra is installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.data import View
from pdstudy.config.downstream import OFFLINE_SUITE, PAPER_SUITE, Downstream, ItemFile, Task
from pdstudy.core.errors import ConfigError
from pdstudy.evaluate import lm_eval_run as module
from pdstudy.evaluate.lm_eval_run import evaluate_downstream
from pdstudy.evaluate.lm_eval_tasks import official_path, task_folder
from pdstudy.launch.stages import perform
from pdstudy.launch.work_order import make_order
from pdstudy.plan.builder import make_plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny
from tests.corpus.pretrained import write_tokenizer

pytest.importorskip("lm_eval", reason="the extra [eval] is not installed")
pytestmark = pytest.mark.slow  # `make test-slow` installs the extra

KBQA = [
    {"query": "问题：法国的首都是哪里？\n答案：", "answer": "巴黎"},
    {"query": "问题：一加一等于几？\n答案：", "answer": "二"},
]
C3 = [
    {
        "query": f"男：今天星期{day}。\n问题：今天星期几？\n答案：",
        "choices": [f"星期{day}", "星期日", "不知道"],
        "gold": 0,
    }
    for day in "一二三四五六天"
]
"""The last two are items, those before are examples."""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's exported folder after 4 steps, of context 128."""
    root = tmp_path_factory.mktemp("student")
    study = load_study(str(write_tiny(root, steps=4)), "mini")
    base = dataclasses.replace(study.base, view=View(context=128), tokens_per_step=256)
    study = dataclasses.replace(
        study, base=base, grid=type(study.grid)(study.grid.arms[:1]), seeds=(0,), evaluations=(), outputs=()
    )
    workspace = Workspace(root / "workspace")
    plan = make_plan(study, workspace)
    assert not plan.problems
    for item in plan.artifacts:
        assert perform(make_order(plan, item, workspace), lambda what, share: None, lambda: False) == "done"
    return workspace.run(study.cells[0].run).model


@pytest.fixture
def local(tmp_path: Path) -> tuple[Task, ...]:
    """The paper's two tasks over user files, which here lie below a folder of their own."""
    (tmp_path / "evaluation").mkdir()
    for name, rows in {"kbqa": KBQA, "c3": C3[5:], "c3-examples": C3[:5]}.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / "evaluation" / f"{name}.jsonl").write_text(text)
    found = []
    for task in PAPER_SUITE:
        if isinstance(task.items, ItemFile):
            paths = {name: value and str(tmp_path / value) for name, value in vars(task.items).items()}
            found.append(dataclasses.replace(task, items=ItemFile(**paths)))
    return tuple(found)


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "items.jsonl").read_text().splitlines()]


def test_the_papers_local_tasks_are_evaluated_with_their_shots(
    student: Path, local: tuple[Task, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdstudy.evaluate.lm_eval_model import ShortContextLM

    prompts: list[str] = []
    for name in ("loglikelihood", "generate_until"):
        real = getattr(ShortContextLM, name)

        def spy(self: Any, requests: list[Any], *args: Any, real: Any = real, **kwargs: Any) -> Any:
            prompts.extend(request.args[0] for request in requests)
            return real(self, requests, *args, **kwargs)

        monkeypatch.setattr(ShortContextLM, name, spy)
    out = tmp_path / "out"
    results = evaluate_downstream(student, Downstream(tasks=local), out)
    assert {name: (part["items"], part["metric"]) for name, part in results["tasks"].items()} == {
        "kbqa": (2, "exact_match"),
        "c3": (2, "acc"),
    }
    assert prompts[:2] == [row["query"] for row in KBQA]
    shots = [f"{row['query']} {row['choices'][0]}" for row in C3[:5]]
    assert prompts[2] == "\n\n".join([*shots, str(C3[5]["query"])])
    assert len(prompts) == 2 + 2 * 3
    assert results["tasks"]["c3"]["cut"] == 1  # no student of context 128 reads five of them
    assert [row["gold"] for row in rows(out) if row["task"] == "c3"] == [0, 0]
    assert not (out / "parts").exists()
    check_what_lm_evals_tools_read(out / "lm-eval", results)
    assert evaluate_downstream(student, Downstream(tasks=local), out) == results
    with pytest.raises(ConfigError, match="results of other tasks"):
        evaluate_downstream(student, Downstream(tasks=local, limit=1), out)


def check_what_lm_evals_tools_read(folder: Path, results: dict[str, Any]) -> None:
    """One file under the model's name, which lm-eval finds, tabulates and scores as ours does."""
    from lm_eval.utils import get_latest_filename, get_results_filenames, make_table

    (model,) = folder.iterdir()
    names = get_results_filenames([str(path) for path in model.iterdir()])
    found = json.loads(Path(get_latest_filename(names)).read_text())
    assert found["results"]["c3"]["acc,none"] == results["tasks"]["c3"]["value"]
    assert found["n-samples"]["kbqa"]["effective"] == 2
    assert set(found["configs"]) == set(found["versions"]) == {"kbqa", "c3"}
    assert found["configs"]["c3"]["num_fewshot"] == 5
    assert found["model_source"] == "hf"
    table = make_table(found)
    assert "|c3" in table.replace(" ", "")
    assert "|kbqa" in table.replace(" ", "")


def test_evaluated_tasks_are_kept_when_a_later_one_has_no_items(
    student: Path, local: tuple[Task, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = next(task for task in PAPER_SUITE if task.name == "gsm8k")
    with pytest.raises(ConfigError) as found:
        evaluate_downstream(student, Downstream(tasks=(local[0], hub)), tmp_path / "out")
    (line,) = str(found.value).splitlines()
    assert line.startswith("task 'gsm8k': its items cannot be read (ConnectionError: ")
    assert "HF_HOME" in line
    names: list[str] = []
    real = module._evaluate_task
    monkeypatch.setattr(
        module, "_evaluate_task", lambda model, task, limit: names.append(task.name) or real(model, task, limit)
    )
    evaluate_downstream(student, Downstream(tasks=local), tmp_path / "out")
    assert names == ["c3"]


def test_a_task_that_lm_eval_fails_over_is_named(student: Path, tmp_path: Path) -> None:
    """Rows without the official task's columns and splits; and a metric that open answers do not have."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(KBQA[0]) + "\n")
    items = ItemFile(path=str(tmp_path / "rows.jsonl"))
    for task, said in {
        Task(name="drop", official="drop/default.yaml", items=items): r"'drop': lm-eval fails over it \(KeyError",
        Task(name="kbqa", items=items): r"'kbqa': metric is 'acc'; lm-eval computes exact_match for it",
    }.items():
        with pytest.raises(ConfigError, match=said):
            evaluate_downstream(student, Downstream(tasks=(task,)), tmp_path / task.name)
        assert not (tmp_path / task.name / "results.json").exists()


def test_answers_longer_than_the_context_are_scored_in_pieces(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.models.huggingface import HFLM

    from pdstudy.evaluate.lm_eval_model import ShortContextLM

    model = ShortContextLM(pretrained=str(student), device="cpu", dtype="float32", max_length=8)
    seen: list[tuple[list[int], list[int]]] = []

    def score(self: Any, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        seen.extend((prompt, answer) for _, prompt, answer in requests)
        return [(-float(len(answer)), 12 not in answer) for _, _, answer in requests]

    monkeypatch.setattr(HFLM, "_loglikelihood_tokens", score)
    ids = list(range(30))
    requests = [(None, ids[:10], ids[10:23]), (None, ids[:3], ids[3:8])]
    assert model._loglikelihood_tokens(requests) == [(-13.0, False), (-5.0, True)]
    pieces = [(ids[5:10], ids[10:14]), (ids[9:14], ids[14:18]), (ids[13:18], ids[18:22]), (ids[14:22], ids[22:23])]
    assert seen == [*pieces, (ids[:3], ids[3:8])]
    assert (model.requests, model.cut) == (2, 1)


@pytest.mark.parametrize("task", [*PAPER_SUITE, *OFFLINE_SUITE], ids=lambda task: task.name)
def test_the_official_tasks_are_those_of_this_lm_eval(task: Task, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    if task.official is None:
        return
    folder = task_folder(dataclasses.replace(task, items=None), tmp_path)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    assert task.name in manager.all_tasks


def test_mmlus_six_shots_come_from_its_validation_split(tmp_path: Path) -> None:
    import yaml

    mmlu = next(task for task in PAPER_SUITE if task.name == "mmlu")
    template = task_folder(mmlu, tmp_path) / "_default_template_yaml"
    own = official_path(mmlu) / "_default_template_yaml"
    changed, theirs = yaml.safe_load(template.read_text()), yaml.safe_load(own.read_text())
    assert (theirs["fewshot_split"], changed.pop("fewshot_split")) == ("dev", "validation")
    assert changed.items() <= theirs.items()


def test_a_real_teacher_has_the_accuracy_found_by_hand(tmp_path: Path) -> None:
    """LAMBADA, where guessing gives nothing; `python -m tests.evaluate.smollm` has all six tasks."""
    from tests.evaluate.smollm import TOLERANCE, compare

    (found,) = compare(["lambada"], tmp_path)
    assert abs(found.difference) <= TOLERANCE


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose tokenizer puts <s>, id 0, before what it encodes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder: Path = tmp_path_factory.mktemp("begun")
    write_tokenizer(folder, ["the cat sat on the mat and the hat"])
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=320, max_position_embeddings=32, **size)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bos", ["<s>", None])
def test_prompts_begin_as_the_documents_of_the_corpus(
    begun: Path, bos: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public report has LAMBADA at a perplexity of 3.5 with the token and 5.9e9 without."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from pdstudy.evaluate.lm_eval_model import ShortContextLM

    model = ShortContextLM(bos=bos, pretrained=str(begun), device="cpu", dtype="float32")
    seen: list[tuple[list[int], list[int]]] = []

    def score(self: Any, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        seen.extend((prompt, answer) for _, prompt, answer in requests)
        return [(0.0, True)] * len(requests)

    monkeypatch.setattr(HFLM, "_loglikelihood_tokens", score)
    first = [] if bos is None else [0]

    def ids(text: str) -> list[int]:
        found: list[int] = model.tokenizer.encode(text, add_special_tokens=False)
        return found

    pairs = [("the cat", " sat"), ("", "the cat"), ("the hat " * 40, "sat")]
    model.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    assert seen[0] == ([*first, *ids("the cat")], ids(" sat"))
    assert seen[1] == (first or [1], ids("the cat")) or bos is None
    assert (
        seen[2][0] == ids("the hat " * 40 + "sat")[: -len(seen[2][1])][-(33 - len(seen[2][1])) :]
    )  # its beginning is cut
    assert model.cut == 1
    seen.clear()
    text = "the cat sat on the mat " * 20
    model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    if bos is not None:
        assert seen[0][0][0] == 0
        assert all(prompt[0] != 0 for prompt, _ in seen[1:])
    encoded, mask = model.tok_batch_encode(["the cat", "the cat sat on"])
    kept = [row[kept.bool()].tolist() for row, kept in zip(encoded, mask, strict=True)]
    assert kept == [[*first, *ids("the cat")], [*first, *ids("the cat sat on")]]
    assert model.tok_batch_encode(["the cat sat on"], left_truncate_len=2)[0].tolist() == [ids("the cat sat on")[-2:]]
    answers = model.generate_until([Instance("generate_until", {}, ("the cat", {"until": ["\n"]}), 0)])
    assert len(answers) == 1
