"""What would fail after hours is said by the plan, with the line of its cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pdstudy.config.data import Slice
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import write_json
from pdstudy.plan.builder import make_plan
from pdstudy.plan.preflight import TextLimits, missing_packages
from pdstudy.plan.study_plan import checked_plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run

STUDY = """
from pdstudy import *

def study(scale="mini"):
    corpus = Corpus(
        sources=(LocalFiles(paths=("{texts}/*.txt",)),),
        tokenizer={tokenizer},
        validation=0.1,
    )
    kd = KD(
        teacher=Pretrained(path="{teacher}"),
        truncation=TopPK(p=0.9, k={k}),
    )
    base = Run(
        student=Shape(width=16, layers=1, heads=2, query_groups=1, ffn=32, vocab=300),
        corpus=corpus, data=Slice(tokens=1024), view=View(context=32), objective=kd,
        optimiser=AdamW(lr=1e-3), schedule=Cosine(warmup_tokens=256), tokens_per_step=256, steps=4,
    )
    return Study(
        name="early", base=base, seeds=(0,),
        evaluations=(
            Heldout(data=Slice(split="validation", tokens={heldout})),
        ),
    )
"""

OURS = {"<|endoftext|>": 0, "a": 1, "b": 2}
GPT2 = {"a": 0, "b": 1, "<|endoftext|>": 2}


def write_tokenizer(folder: Path, ids: dict[str, int]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": ids}, "added_tokens": []}))
    return str(folder)


def write_teacher(folder: Path, *, weights: str = "model.safetensors", ids: dict[str, int] | None = OURS,
                  **config: Any) -> str:  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 300, "max_position_embeddings": 64} | config))
    (folder / weights).write_bytes(b"weights")
    if ids is not None:
        write_tokenizer(folder, ids)
    return str(folder)


def write_study(folder: Path, **changes: Any) -> str:
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    (texts / "a.txt").write_text("some words " * 400)
    fields = {"texts": texts, "tokenizer": "BPE(vocab=300)", "teacher": "nowhere", "k": 20, "heldout": 320}
    path = folder / "early.py"
    path.write_text(STUDY.format(**fields | changes))
    return str(path)


def refusal(study: str, workspace: Path) -> list[str]:
    """Lines of the refusal, as `file:line: field: ...` without the folder."""
    with pytest.raises(ConfigError) as refused:
        checked_plan(study, None, Workspace(workspace))
    return [line.strip().replace(str(Path(study).parent) + "/", "") for line in str(refused.value).splitlines()[1:]]


def line_of(study: str, text: str) -> int:
    return next(i for i, line in enumerate(Path(study).read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"weights": "pytorch_model.bin"}, "weights in *.safetensors (it has pytorch_model.bin"),
        ({"max_position_embeddings": 16}, "reads the view's 32 tokens (it reads 16)"),
        ({"vocab_size": 256}, "a row for each of the tokenizer's 257 ids (it has 256)"),
        ({"ids": GPT2}, "a model with the corpus's tokenizer (tokenize the corpus with the model's: Pretrained"),
        ({"ids": {**OURS, "c": 300}, "vocab_size": 320}, "a model with the corpus's tokenizer"),
        ({"text_config": {"max_position_embeddings": 16}}, "reads the view's 32 tokens (it reads 16)"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_at_its_line(teacher: dict[str, Any], said: str, tmp_path: Path) -> None:
    study = write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher", **teacher))
    (found,) = refusal(study, tmp_path / "workspace")
    assert found.startswith(f"early.py:{line_of(study, 'teacher=')}: objective.teacher.path: found")
    assert said in found


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"hidden_size": 24}, "a model of the student's shape, hidden_size 16 (it has 24)"),
        ({"num_hidden_layers": 2}, "num_hidden_layers 1 (it has 2)"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps 1e-05 (it has 1e-06)"),
        ({"vocab_size": 301}, "a model of 257 to 300 rows (it has 301)"),
        ({"vocab_size": 256}, "a model of 257 to 300 rows (it has 256)"),
        ({"ids": GPT2}, "a model with the corpus's tokenizer"),
        ({"weights": "pytorch_model.bin"}, "weights in *.safetensors (it has pytorch_model.bin"),
    ],
)
def test_weights_that_are_not_the_student_s_are_refused(model: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Other ids used to be taken: the run went on with the wrong tokens, and nothing said so."""
    study = Path(write_study(tmp_path))
    folder = write_teacher(tmp_path / "model", **model)
    study.write_text(
        study.read_text().replace("objective=kd,", f"\n        start=Start(model=Pretrained(path={folder!r})),")
    )
    (found,) = refusal(str(study), tmp_path / "workspace")
    assert found.startswith(f"early.py:{line_of(str(study), 'start=')}: start.model.path: found")
    assert said in found


def test_weights_that_are_the_student_s_are_taken(tmp_path: Path) -> None:
    study = Path(write_study(tmp_path))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
             "intermediate_size": 32, "head_dim": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}  # fmt: skip
    folder = write_teacher(tmp_path / "model", vocab_size=290, **shape)  # an export has no row that no token has
    study.write_text(study.read_text().replace("objective=kd,", f"start=Start(model=Pretrained(path={folder!r})),"))
    workspace = Workspace(tmp_path / "workspace")
    assert len(checked_plan(str(study), None, workspace).todo) == 2
    corpus = workspace.corpus(load_study(str(study)).base.corpus)
    write_tokenizer(corpus / "tokenizer", {**OURS, "c": 3})
    (corpus / "manifest.json").write_text(json.dumps({"splits": {}}))
    (found,) = refusal(str(study), workspace.root)
    assert "start.model.path" in found, "what is built is compared, too"


def test_a_teacher_that_fits_is_taken(tmp_path: Path) -> None:
    """Just long enough, and with just as many rows as there are ids."""
    study = write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher", max_position_embeddings=32))
    todo = checked_plan(study, None, Workspace(tmp_path / "workspace")).todo
    assert [artifact.kind for artifact in todo] == ["corpus", "logits", "evaluate", "student"]


def test_two_pretrained_tokenizers_must_give_the_same_ids(tmp_path: Path) -> None:
    mine = write_tokenizer(tmp_path / "mine", GPT2)
    teacher = write_teacher(tmp_path / "teacher", ids={**GPT2})
    tokenizer = f"PretrainedTokenizer(path={mine!r})"
    study = write_study(tmp_path, teacher=teacher, tokenizer=tokenizer)
    assert checked_plan(study, None, Workspace(tmp_path / "workspace"))
    write_tokenizer(tmp_path / "teacher", {"a": 1, "b": 0, "<|endoftext|>": 2})
    assert "a model with the corpus's tokenizer" in refusal(study, tmp_path / "workspace")[0]


def test_a_corpus_that_is_built_is_compared_with_the_teacher(tmp_path: Path) -> None:
    """Before, its BPE may become the teacher's; then, it is or is not."""
    study = write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher"))
    workspace = Workspace(tmp_path / "workspace")
    folder = workspace.corpus(load_study(study).base.corpus)
    splits = {split: {"tokens": 10_000} for split in ("train", "validation", "test")}
    write_tokenizer(folder / "tokenizer", OURS)
    (folder / "manifest.json").write_text(json.dumps({"splits": splits}))
    assert checked_plan(study, None, workspace)
    write_tokenizer(folder / "tokenizer", {**OURS, "c": 3})
    (found,) = refusal(study, workspace.root)
    assert found.startswith(f"early.py:{line_of(study, 'teacher=')}: objective.teacher.path: found")


def test_a_teacher_without_a_tokenizer_is_warned_of(tmp_path: Path) -> None:
    study = write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher", ids=None))
    warnings = checked_plan(study, None, Workspace(tmp_path / "workspace")).warnings
    (found,) = (w for w in warnings if "tokenizer.json" in w)
    assert found.startswith(f"{study}:{line_of(study, 'teacher=')}: objective.teacher: ")


def test_more_entries_than_the_vocabulary_has(tmp_path: Path) -> None:
    study = write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher"), k=301)
    (found,) = refusal(study, tmp_path / "workspace")
    assert found.startswith(f"early.py:{line_of(study, 'k=301')}: objective.truncation.k: found 301; allowed: at most")
    (tmp_path / "more").mkdir()
    fits = write_study(tmp_path / "more", teacher=str(tmp_path / "teacher"), k=300)
    assert checked_plan(fits, None, Workspace(tmp_path / "workspace"))


def test_an_evaluation_larger_than_the_texts(tmp_path: Path) -> None:
    """4,400 bytes of text, a tenth of it for validation: 4,416 tokens cannot be, 448 are doubtful, 416 may be."""
    teacher = write_teacher(tmp_path / "teacher")
    study = write_study(tmp_path, teacher=teacher, heldout=138 * 32)
    (found,) = refusal(study, tmp_path / "workspace")
    at = line_of(study, "Heldout(")
    assert found.startswith(
        f"early.py:{at}: evaluations[0].data: found '[0, 4,416)'; allowed: a slice that ends before"
    )
    for tokens, doubtful in ((14 * 32, True), (13 * 32, False)):
        study = write_study(tmp_path, teacher=teacher, heldout=tokens)
        warnings = checked_plan(study, None, Workspace(tmp_path / "workspace")).warnings
        assert any(w.startswith(f"{study}:{at}: evaluations[0].data") for w in warnings) is doubtful


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", weights="pytorch_model.bin", max_position_embeddings=16)
    study = write_study(tmp_path, teacher=teacher, k=301)
    assert len(refusal(study, tmp_path / "workspace")) == 3


def test_a_missing_package_is_a_warning_here_and_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Path(write_study(tmp_path, teacher=write_teacher(tmp_path / "teacher")))
    study.write_text(
        study.read_text().replace("seeds=(0,),", "seeds=(0,),\n        downstream=(Downstream(tasks=OFFLINE_SUITE),),")
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lm_eval" else object())
    workspace = Workspace(tmp_path / "workspace")
    plan = checked_plan(str(study), None, workspace)
    (found,) = plan.packages
    assert (found.line, found.found) == (line_of(str(study), "downstream="), "lm-eval")
    assert any("lm-eval" in warning and "pdstudy[eval]" in warning for warning in plan.warnings)
    with pytest.raises(ConfigError, match=r"early.py:\d+: downstream: found 'lm-eval'.*pip install"):
        plan.check_here()
    (answers,) = plan.answers
    answers.path(workspace).mkdir(parents=True)
    (answers.path(workspace) / "results.json").write_text('{"tasks": {}}')
    assert not make_plan(plan.study, workspace).packages, "nothing that is to be made needs it"
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert missing_packages(plan.study, plan.artifacts) == ()


def test_the_last_prediction_needs_one_token_more(tmp_path: Path) -> None:
    """Of 1,000 tokens of a built corpus 999 are predicted."""
    workspace, run = Workspace(tmp_path), make_run()
    write_json(workspace.corpus(run.corpus) / "manifest.json", {"splits": {"train": {"tokens": 1000}}})
    limits = TextLimits(run.corpus, workspace)
    assert limits.check("data", Slice(tokens=999)) is None
    assert limits.check("data", Slice(start=500, tokens=499)) is None
    found = limits.check("data", Slice(tokens=1000))
    assert found is not None
    assert (found.found, found.allowed) == ("[0, 1,000)", "a slice that ends before 1,000, the corpus's train tokens")


def test_a_bos_that_the_corpus_does_not_use_is_a_warning(tmp_path: Path) -> None:
    mine = write_tokenizer(tmp_path / "mine", {**OURS, "<s>": 3})
    (tmp_path / "mine/tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "<|endoftext|>"}')
    teacher = write_teacher(tmp_path / "teacher", ids={**OURS, "<s>": 3})
    study = write_study(tmp_path, teacher=teacher, tokenizer=f"PretrainedTokenizer(path={mine!r})")
    (found,) = [w for w in checked_plan(study, None, Workspace(tmp_path / "workspace")).warnings if "bos" in w]
    where = f"early.py:{line_of(study, 'tokenizer=')}: corpus.tokenizer.bos: found None; allowed: '<s>', with which"
    assert found.removeprefix(f"{tmp_path}/").startswith(where)
