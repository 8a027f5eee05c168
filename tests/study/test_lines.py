"""Each mistake of a study or search file is reported at the line of the value that is wrong, all in one pass."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path

import pytest

from pdstudy import AdamW, Slice
from pdstudy.cli.main import main
from pdstudy.core.errors import ConfigError
from pdstudy.core.origin import origin, spot_of
from pdstudy.plan.study_plan import checked_plan
from pdstudy.search.search_file import load_search
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace

STUDY = '''
"""Mistakes, each marked with its field."""

import dataclasses

from pdstudy import (
    BPE, KD, KLD, LM, AdamW, Compare, Corpus, Cosine, Curves, Heldout, Run, Shape, Slice, StandardLibrary, Study,
    Temperature, TopPK, View, axis, arm,
)  # fmt: skip

STEP = 256
FIRST = AdamW(
    betas=(0.9, 0.95),
    lr="8e-3",  # optimiser.lr
    eps=1e-8,
)


def study(scale="mini"):
    teacher = Run(
        student=Shape(width=32, layers=1, heads=2, query_groups=1, ffn=64, vocab=512),
        corpus=Corpus(sources=(StandardLibrary(),), tokenizer=BPE(vocab=512)),
        data=Slice(start=STEP * 100, tokens=STEP * 10),
        view=View(context=64),
        optimiser=AdamW(lr=1e-3),
        schedule=Cosine(warmup_tokens=0),
        tokens_per_step=STEP,
        tokens=STEP * 10,
    )
    base = dataclasses.replace(
        teacher,
        data=Slice(tokens=STEP * 10),
        optimiser=dataclasses.replace(FIRST, weight_decay=0.0),
        tokens=1000,  # tokens
    )
    kd = KD(
        teacher=teacher,
        truncation=TopPK(
            k=10,
            p=95,  # objective.truncation.p
        ),
        alpha=1.9,  # objective.alpha
    )
    losses = axis(
        "loss",
        {
            "LM": LM(),
            "KD": kd,
            "hot": dataclasses.replace(
                kd,
                temperature=Temperature(tau=-2),  # objective.temperature.tau
            ),
        },
        field="objective",
    )
    rates = axis(
        "wd",
        [
            0,
            STEP,
            -STEP,  # schedule.warmup_tokens
        ],
        field="schedule.warmup_tokens",
    )
    tuned = axis("arm", {
        "tuned": {
            "optimiser.clip": 0.5,
            "optimizer.lr": 2e-3,  # optimizer.lr
        },
    })
    other = arm(
        "odd",
        {"view.context": 64,
         "schedule.final": 3},  # schedule.final
        axis="wd",
    ).set(
        "precision",
        "float16",  # precision
    )
    return Study(
        name="mis taken",  # name
        base=base,
        grid=losses * rates + tuned + other,
        seeds=[0, 0],  # seeds
        baseline={
            "loss": "ML",  # baseline['loss']
        },
        evaluations=(
            Heldout(data=Slice(split="test", tokens=640)),
            Heldout(data=Slice(
                split="test",
                tokens=100,  # evaluations[1].data.tokens
            )),
        ),
        outputs=(
            Compare(),
            Curves(
                title="Curves",
                lines="losss",  # outputs[1].lines
            ),
        ),
    )
'''

SEARCH = """
from pdstudy import LM, KLD, Heldout, Slice
from pdstudy.search import AtMost, Choice, Final, Halving, Integer, Log, Loss, Search, Simplex, Uniform
from tests.core.test_normal import make_run


def search(scale="mini"):
    return Search(
        name="s",
        base=make_run(),
        space={
            "optimiser.lr": Log(
                1e-2,  # space['optimiser.lr'].low
                1e-3,
            ),
            "optimiser.weight_decay": Uniform(0.0, 0.1),
            "view.context": 3,  # space['view.context']
            "objective": Simplex({
                "LM": LM(),
                "KL": 7,  # space['objective'].terms['KL']
            }),
        },
        validation=Heldout(data=Slice(split="test", tokens=640)),  # validation
        trials=0,  # trials
        objectives=(
            Loss(),
            Loss(column="los"),  # objectives[1].column
        ),
        pruner=Halving(  # pruner
            rungs=(640,),
            keep=2.0,  # pruner.keep
        ),
        final=Final(
            controls={
                "trial 3": {},  # final.controls['trial 3']
            },
            evaluations=(Heldout(data=Slice(split="test", tokens=640)),),
            best=0,  # final.best
        ),
        device_hours=-1,  # device_hours
    )
"""


def marked(text: str) -> dict[str, int]:
    """The line of each field that a comment names."""
    lines = enumerate(text.splitlines(), 1)
    found = {match[1]: number for number, line in lines if (match := re.search(r"  # ([a-z].*)$", line))}
    return {field: number for field, number in found.items() if not field.startswith("fmt:")}


def reported(message: str) -> dict[str, int]:
    return {m[2]: int(m[1]) for m in re.finditer(r"mine\.py:(\d+): (.+?): found", message)}


@pytest.fixture
def study(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(STUDY)
    return str(tmp_path / "mine.py")


def test_every_mistake_of_a_study_is_at_its_own_line(study: str, tmp_path: Path) -> None:
    wanted = marked(STUDY)
    assert len(set(wanted.values())) >= 13
    with pytest.raises(ConfigError) as raised:
        checked_plan(study, "mini", Workspace(tmp_path / "workspace"))
    found = reported(str(raised.value))
    assert found == wanted


@pytest.mark.parametrize("options", [(), ("--steps", "2")])
def test_the_command_line_says_the_same(
    study: str, tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", study, "--workspace", str(tmp_path / "workspace"), *options])
    assert reported(capsys.readouterr().err) == marked(STUDY)


def test_every_mistake_of_a_search_is_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SEARCH)
    with pytest.raises(ConfigError) as raised:
        load_search(str(tmp_path / "mine.py"))
    assert reported(str(raised.value)) == marked(SEARCH)


def test_an_unknown_field_is_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from pdstudy import AdamW\ndef study():\n    return AdamW(\n  lr=1,\n  bta=2)\n")
    with pytest.raises(ConfigError, match=r"mine\.py:5: AdamW has no field 'bta'"):
        load_study(str(tmp_path / "mine.py"))


def test_an_origin_is_no_part_of_an_object() -> None:
    one = AdamW(
        lr=1e-3,
        eps=1e-8,
    )
    other = AdamW(eps=1e-8, lr=1e-3)
    assert origin(one) != origin(other)
    assert (one, hash(one), repr(one)) == (other, hash(other), repr(other))
    changed = dataclasses.replace(one, eps=1e-6)
    (file, line), (_, eps) = spot_of(changed, "lr") or ("", 0), spot_of(changed, "eps") or ("", 0)
    text = Path(__file__).read_text().splitlines()
    assert file == __file__
    assert text[line - 1].strip() == "lr=1e-3,"
    assert "replace(one, eps=1e-6)" in text[eps - 1]
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert vars(again) == {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}


def test_the_same_mistake_twice_is_two_lines() -> None:
    one, other = Slice(tokens=0), Slice(
        tokens=0)  # fmt: skip
    assert one == other
    assert spot_of(one, "tokens") != spot_of(other, "tokens")
