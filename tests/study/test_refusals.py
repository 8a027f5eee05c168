"""What a plan refuses, each with field, reason, file and line, and what it must not refuse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pdstudy.config.data import PretrainedTokenizer, Slice
from pdstudy.config.evaluation import HeldoutResponses
from pdstudy.config.finetuning import Finetuning
from pdstudy.config.instructions import DEFAULT_TEMPLATE, Instructions, LocalExamples
from pdstudy.config.logits import Capture
from pdstudy.config.optimizer import WSD
from pdstudy.config.run import KD, Online, Run, Start
from pdstudy.config.text_sources import LocalFiles
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.validation import problems
from pdstudy.launch.smoke_test import shortened
from pdstudy.plan.builder import make_plan
from pdstudy.study.grid import axis
from pdstudy.study.study import Study
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Study:
    return load_study(str(write_tiny(tmp_path)), "mini")


def objective(study: Study) -> KD:
    found = study.cells[-1].run.objective
    assert isinstance(found, KD)
    return found


def of_objectives(study: Study, **objectives: KD) -> Study:
    return dataclasses.replace(study, grid=axis("loss", objectives, field="objective"), baseline={}, outputs=())


def refused(study: Study, tmp_path: Path) -> list[str]:
    found = make_plan(study, Workspace(tmp_path / "workspace")).problems
    assert all(p.file and p.line for p in found)
    return [str(p) for p in found]


def test_a_stored_teacher_does_not_respect_documents(tiny: Study, tmp_path: Path) -> None:
    view = dataclasses.replace(tiny.base.view, documents="respect")
    (one,) = refused(dataclasses.replace(tiny, base=dataclasses.replace(tiny.base, view=view)), tmp_path)
    assert "view.documents: found 'respect'; allowed: 'cross' with a teacher" in one
    teacher = objective(tiny).teacher
    assert isinstance(teacher, Run)
    wanted = Capture(teacher=teacher, corpus=tiny.base.corpus, view=view, data=Slice(tokens=256), truncation=TopPK())
    assert [p.field for p in problems(wanted)] == ["view.documents"]


def test_one_teacher_has_one_store(tiny: Study, tmp_path: Path) -> None:
    kd = objective(tiny)
    coded = dataclasses.replace(kd, stored="coded")
    (one,) = refused(of_objectives(tiny, exact=kd, coded=coded), tmp_path)
    assert "objective.stored: found ['exact', 'small']; allowed: one: one store has one encoding" in one
    drawn = [dataclasses.replace(kd, truncation=Sampled(draws=4, exponent=e)) for e in (1.0, 0.5)]
    (one,) = refused(of_objectives(tiny, a=drawn[0], b=drawn[1]), tmp_path)
    assert "objective.truncation.exponent: found [0.5, 1.0]" in one


@pytest.mark.parametrize("changes", [{"tokens": 32 * 10**30}, {"start": 32 * 10**30}])
def test_a_slice_ends_within_64_bits(tiny: Study, tmp_path: Path, changes: dict[str, int]) -> None:
    data = dataclasses.replace(tiny.base.data, **changes)
    found = refused(dataclasses.replace(tiny, base=dataclasses.replace(tiny.base, data=data)), tmp_path)
    assert any(f"data.{next(iter(changes))}: found {32 * 10**30}; allowed: a slice that ends" in p for p in found)


def test_a_template_marks_what_is_learned() -> None:
    def fields(template: str) -> list[str]:
        return [p.field for p in problems(Instructions(sources=(), template=template))]

    assert "template" in fields("{% if add_generation_prompt %}Answer:{% endif %}")
    assert "template" not in fields(DEFAULT_TEMPLATE)
    assert "template" not in fields("{%- generation -%}x{%- endgeneration -%}")


def test_examples_of_an_evaluation_that_are_not_here_are_missing(tiny: Study, tmp_path: Path) -> None:
    pattern = str(tmp_path / "none" / "*.jsonl")
    wanted = HeldoutResponses(instructions=Instructions(sources=(LocalExamples(paths=(pattern,)),)), tokens=256)
    assert (
        "a file, folder or glob that is there" in refused(dataclasses.replace(tiny, evaluations=(wanted,)), tmp_path)[0]
    )
    study = dataclasses.replace(tiny, evaluations=(wanted,), elsewhere=True)
    plan = make_plan(study, Workspace(tmp_path / "workspace"))
    assert not plan.problems
    assert any(pattern in warning for warning in plan.warnings)


def started(run: Run, model: Run) -> Run:
    return dataclasses.replace(run, start=Start(model=model))


def test_a_start_has_the_ids_of_the_run(tiny: Study, tmp_path: Path) -> None:
    run = tiny.base
    other = dataclasses.replace(run.corpus, sources=(LocalFiles(paths=(str(tmp_path / "texts" / "000*.txt"),)),))
    assert not list(problems(started(run, run)))
    (problem,) = problems(started(run, dataclasses.replace(run, corpus=other)))
    assert problem.field == "start.model.corpus.tokenizer"
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    same = PretrainedTokenizer(path=str(folder))
    here, there = (dataclasses.replace(run, corpus=dataclasses.replace(c, tokenizer=same)) for c in (run.corpus, other))
    assert not list(problems(started(here, there))), "another corpus in the same ids"


def test_a_student_has_a_row_for_every_id_of_a_tokenizer_that_is_here(tiny: Study, tmp_path: Path) -> None:
    """It was found out when the student began, after the teacher's pass."""
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 4000, "content": "<end>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    corpus = dataclasses.replace(tiny.base.corpus, tokenizer=PretrainedTokenizer(path=str(tmp_path)))
    (problem,) = problems(dataclasses.replace(tiny.base, corpus=corpus))
    assert (problem.field, problem.allowed) == ("student.vocab", "at least the tokenizer's 4001")


def test_a_trial_shortens_what_a_run_starts_from(tiny: Study) -> None:
    run = tiny.base
    finetuning = Finetuning(
        instructions=Instructions(sources=(LocalExamples(paths=()),)), data=run.data, tokens=1024,
        optimiser=run.optimiser, schedule=run.schedule,
    )  # fmt: skip
    short = shortened(finetuning.of(run, 512), 3)
    assert short.num_steps == 3
    assert short.start is not None
    assert isinstance(short.start.model, Run)
    assert short.start.model.num_steps == 3
    assert not [p for p in problems(short) if p.field.startswith("start")]


def test_a_trial_shortens_the_teacher_of_online_logits_and_a_decay(tiny: Study) -> None:
    run = tiny.base
    stream = dataclasses.replace(run, order="stream", data=Slice(tokens=run.num_tokens))
    late = dataclasses.replace(
        run,
        data=Slice(start=run.num_tokens - 1024, tokens=1024),
        objective=dataclasses.replace(objective(tiny), teacher=Online(run=stream)),
        schedule=WSD(warmup_tokens=256, decay_tokens=run.num_tokens - 256),
    )
    assert not list(problems(late))
    short = shortened(late, 2)
    assert not list(problems(short))
    assert isinstance(short.teacher, Online)
    assert (short.num_steps, short.teacher.run.num_steps) == (2, 2)
    assert (short.data.start, short.data.tokens) == (0, short.num_tokens)


@pytest.mark.parametrize("seed", [2**32, 2**64, -1])
def test_a_seed_that_torch_would_cut_is_refused(seed: int, tiny: Study, tmp_path: Path) -> None:
    """Its generator on a CPU takes 32 bits: seeds 1 and 2**32 + 1 gave equal initial weights."""
    (one,) = refused(dataclasses.replace(tiny, seeds=(1, seed)), tmp_path)
    assert "seeds: found" in one
    assert "below 4,294,967,296" in one
    teacher = objective(tiny).teacher
    assert isinstance(teacher, Run)
    assert [p.field for p in problems(dataclasses.replace(teacher, seed=seed))] == ["seed"]
    corpus = dataclasses.replace(tiny.base.corpus, shuffle_seed=seed)
    assert [p.field for p in problems(corpus)] == ["shuffle_seed"]


def test_names_of_studies_and_axes_fit_files_and_tables(tiny: Study, tmp_path: Path) -> None:
    (long,) = refused(dataclasses.replace(tiny, name="τ" * 120), tmp_path)
    assert "name: found" in long
    assert "200 bytes at most" in long
    (empty,) = refused(dataclasses.replace(tiny, grid=tiny.grid * axis(" ", [{}])), tmp_path)
    assert "grid: found ' '; allowed: axes whose names are text, and not empty" in empty
