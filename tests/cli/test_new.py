"""`pdstudy new`: each file that it writes is short, planned as it is, and runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pdstudy.cli.main import main
from pdstudy.cli.new_command import TEMPLATES, write_study
from pdstudy.config.evaluation import Heldout
from pdstudy.core.errors import ConfigError
from pdstudy.plan.study_plan import checked_plan
from pdstudy.search.search_file import load_search
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.cli.own_material import write_teacher, write_texts
from tests.core.cli import call
from tests.models.published import PUBLISHED

RUNS = {"quickstart": 6, "own-data": 18, "scaling": 96, "slurm": 18}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_written_is_planned_as_it_is(template: str, here: Path) -> None:
    if template == "own-data":
        write_teacher(here / "teacher", write_texts(here / "text" / "a.jsonl", "[a-d]*.py"))
    file = write_study("first", template)
    assert len(file.read_text().splitlines()) < 60
    if template == "search":
        search = load_search("first")
        assert search.name == "first"
        return
    plan = checked_plan("first", None, Workspace(here / "workspace"))
    assert (plan.study.name, len(plan.study.cells)) == ("first", RUNS[template])


PACKAGED_TOKENS = 1_982_696
"""Tokens of wikipedia-leads under a vocabulary of 1,024, end tokens included, as a manifest of it has them."""


@pytest.mark.parametrize("template", ["quickstart", "scaling"])
def test_held_out_slices_fit_into_the_packaged_text(template: str, here: Path) -> None:
    """Documents go to splits by hash: a share holds its tokens to some 10 %, and more where they are few."""
    study = load_study(str(write_study("first", template)))
    for evaluation in study.evaluations:
        assert isinstance(evaluation, Heldout)
        share = getattr(study.base.corpus, evaluation.data.split)
        assert evaluation.data.tokens < 0.97 * share * PACKAGED_TOKENS


def test_own_data_says_what_is_not_here_yet() -> None:
    write_study("mine", "own-data")
    with pytest.raises(ConfigError) as refused:
        checked_plan("mine", None, Workspace(Path("workspace")))
    assert [line.partition("found ")[2].split(";")[0] for line in str(refused.value).splitlines()[1:]] == [
        "'text/*.jsonl'", "'teacher'", "'teacher'",
    ]  # fmt: skip


def test_the_help_lists_what_a_study_may_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["new", "--help"])
    shown = capsys.readouterr().out
    assert [f"  {name:<12} {text}" for name, text in TEMPLATES.items()] == shown.strip().splitlines()[-5:]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["gemma-3-4b", "gpt2", "Qwen3-30B-A3B"])
def test_students_are_small_models_of_a_published_family(name: str, here: Path) -> None:
    (here / "config.json").write_text(json.dumps(PUBLISHED[name]))
    write_study("family", "quickstart", "config.json")
    plan = checked_plan("family", None, Workspace(here / "workspace"))
    (parameters,) = {artifact.parameters for artifact in plan.runs if artifact.kind == "student"}
    assert 10_000 < parameters < 1_500_000


def test_a_config_of_no_language_model_is_refused(here: Path) -> None:
    (here / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match="found 'vit'; allowed: the type of a decoder that transformers has"):
        write_study("family", "quickstart", "config.json")
    assert not (here / "studies").exists()


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_written_runs(template: str, here: Path) -> None:
    if template == "own-data":
        write_teacher(here / "teacher", write_texts(here / "text" / "a.jsonl"))
    file = write_study("first", template)
    text = file.read_text()
    for source in ('(Packaged(name="wikipedia-leads"),)', "ENGLISH"):
        text = text.replace(f"sources={source}", "sources=(StandardLibrary(),)")
    text = re.sub(r"ENGLISH, |Packaged, ", "", text).replace("Corpus, ", "Corpus, StandardLibrary, ")
    text = text.replace("tokens=131_072", "tokens=32_768")  # the test split of that text is smaller
    file.write_text(text)
    if template == "search":
        for old, new in (("200 * STEP", "24 * STEP"), ("400 * STEP", "24 * STEP"), ("trials=20", "trials=3")):
            file.write_text(file.read_text().replace(old, new))
        done = call(here, "search", "first", "--workers", "1")
    else:
        done = call(here, "run", "first", "--steps", "2")
    assert done.returncode == 0, done.stdout + done.stderr
