"""What a user may write wrongly in a search: all of it is said at once, in words, and none of it raises."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from pdstudy import KD, KLD, LM, Heldout, Slice, Tail, ZLoss
from pdstudy.config.losses import Weighted
from pdstudy.core.errors import ConfigError
from pdstudy.search.objectives import Compute, Loss
from pdstudy.search.search_file import load_search
from pdstudy.search.space import Choice, Integer, Level, Log, Simplex, Uniform
from pdstudy.search.strategy import Final, Halving
from tests.core.test_normal import make_run, make_teacher
from tests.core.tiny import write_tiny
from tests.search.synthetic import SIMPLEX, make_search
from tests.search.test_local import SEARCH

KEPT = KD(teacher=make_teacher(), rest=Tail())
IN_STEPS = make_run(objective=KEPT, tokens=None, steps=10)
TEST = Heldout(data=Slice(split="test", tokens=640))
INNER = {"optimiser.lr": Log(1e-3, 2e-3)}
LR = "space['optimiser.lr']"


def final(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"controls": {"LM": {"objective": LM()}}, "evaluations": (TEST,)}
    return {"final": Final(**(fields | changes))}


def lr(dimension: Any) -> dict[str, Any]:
    return {"space": {"optimiser.lr": dimension}}


def terms(**losses: Any) -> dict[str, Any]:
    return {"space": {"objective": Simplex(losses)}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (lr((1e-3, 1e-2)), LR),
        (lr(Log(0, 1e-2)), f"{LR}.low"),
        (lr(Log(1e-2, 1e-3)), f"{LR}.low"),
        (lr(Uniform(1e-2, 1e-2)), f"{LR}.low"),
        (lr(Log(1e-3, math.nan)), f"{LR}.high"),
        (lr(Log("1e-3", 1e-2)), f"{LR}.low"),  # type: ignore[arg-type]
        (lr(Choice({})), f"{LR}.levels"),
        (lr(Choice([1e-3, 1e-2])), f"{LR}.levels"),  # type: ignore[arg-type]
        (lr(Choice({1: 1e-3, 2: 1e-2})), f"{LR}.levels"),  # type: ignore[dict-item]
        (lr(Choice({"a": 1e-3, "b": 1e-3})), f"{LR}.levels['b']"),
        (lr(Choice({"a": Level(1e-3, {"objective.alpha": Choice({})})})),
         f"{LR}.levels['a'].space['objective.alpha'].levels"),
        ({"space": {"steps": Integer(4, 10, 4)}, "base": IN_STEPS}, "space['steps'].high"),
        ({"space": {"steps": Integer(4, 10, 0)}, "base": IN_STEPS}, "space['steps'].step"),
        ({"space": {"steps": Integer(4.5, 10)}, "base": IN_STEPS}, "space['steps'].low"),  # type: ignore[arg-type]
        ({"space": [("optimiser.lr", Log(1e-3, 1e-2))]}, "space"),
        ({"space": {3: Log(1e-3, 1e-2)}}, "space[3]"),
        ({"space": {}}, "space"),
        (terms(), "space['objective'].terms"),
        (terms(KL=KLD()), "space['objective'].terms"),
        (terms(KL=KLD(), again=KLD()), "space['objective'].terms['again']"),
        (terms(LM=LM(), x=3), "space['objective'].terms['x']"),
        # Both corners of it are runs; what lies between would be a mixture in a mixture.
        (terms(LM=LM(), x=Weighted(terms=((0.9, KLD()), (0.1, ZLoss())))), "space['objective'].terms['x']"),
        ({"space": {"objective.alpha": Uniform(0.1, 0.9), "objective": SIMPLEX}}, "space: objective.alpha"),
        ({"space": {"objective.temperature.tau": Log(0.5, 2), "objective": Choice({"KD": KEPT, "LM": LM()})}},
         "space: objective.temperature.tau"),
        ({"space": {"optimiser.lr": Log(1e-3, 1e-2), "objective": Choice({"KD": Level(KEPT, INNER)})}},
         "space: optimiser.lr"),
        ({"space": {"objective.temperature.tau": Log(0.5, 2)}}, "space: objective.temperature"),
        ({"space": {"objective": Choice({"a": Level(KEPT, {"objective.temperature.tau": Uniform(0.5, 2)})})}},
         "space: objective.temperature"),
        ({"pruner": "halving"}, "pruner"),
        ({"pruner": Halving(1280)}, "pruner.rungs"),  # type: ignore[arg-type]
        ({"pruner": Halving((0, 1280))}, "pruner.rungs"),
        ({"pruner": Halving((1281,))}, "pruner.rungs"),
        ({"pruner": Halving((3840,)), "space": {"steps": Integer(5, 10)}, "base": IN_STEPS}, "pruner.rungs"),
        ({"pruner": Halving((1280,), band=-0.1)}, "pruner.band"),
        ({"pruner": Halving((1280,), keep=math.nan)}, "pruner.keep"),
        ({"sampler": "TPE"}, "sampler"),
        ({"trials": 2.5}, "trials"),
        ({"seeds": 3}, "seeds"),
        ({"storage": 3}, "storage"),
        ({"validation": None}, "validation"),
        ({"validation": Heldout(data=Slice(split="validation", tokens=650))}, "validation.data.tokens"),
        ({"base": LM()}, "base"),
        (final(controls={"LM": {"objektive": LM()}}), "final.controls['LM']: objektive"),
        (final(controls={"LM": {"optimiser.lr": -1.0}}), "final.controls['LM']: optimiser.lr"),
        (final(controls={"trial 0": {}}), "final.controls['trial 0']"),
        (final(controls={"LM": LM()}), "final.controls['LM']"),
        (final(seeds=(7, 7)), "final.seeds"),
        (final(seeds=()), "final.seeds"),
        (final(best=1.5), "final.best"),
        (final(evaluations=(Heldout(data=Slice(split="test", tokens=650)),)), "final.evaluations[0].data.tokens"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    search = make_search(**changes)
    (problem,) = search.problems()
    assert problem.field == field
    # The line of the value: in this file, or in the call that has the other fields.
    assert problem.file == __file__ or (problem.file, problem.line) == search.where
    assert problem.line


def test_all_that_is_wrong_is_said_at_once() -> None:
    space = {"optimiser.lr": Log(1e-2, 1e-3), "objective": Simplex({"KL": KLD()})}
    found = make_search(
        trials=0, space=space, base=dataclasses.replace(make_search().base, tokens_per_step=7)
    ).problems()
    wanted = {"trials", f"{LR}.low", "space['objective'].terms", "tokens", "tokens_per_step"}
    assert {p.field for p in found} == wanted
    rungs = make_search(trials=0, space={"optimiser.rate": Log(1e-3, 1e-2)}, pruner=Halving((9999,))).problems()
    assert {p.field for p in rungs} == {"trials", "optimiser.rate", "pruner.rungs"}
    # A field that is none is named though its range is wrong, too, and so is a pruner whatever the space.
    space = {"optimiser.rate": Log(1e-2, 1e-3), "objective": Choice({"a": Level(KEPT, {"objective.tau": Log(1, 0)})})}
    found = make_search(space=space, pruner=Halving((1280,), keep=5), objectives=(Loss(), Compute())).problems()
    assert {p.field for p in found} == {
        "space['optimiser.rate'].low", "optimiser.rate", "pruner.keep", "pruner",
        "space['objective'].levels['a'].space['objective.tau'].low",
    }  # fmt: skip


def test_a_file_with_one_problem_names_its_line(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    (tmp_path / "wrong.py").write_text(SEARCH.replace("trials=4", "trials=0"))
    with pytest.raises(ConfigError) as raised:
        load_search(str(tmp_path / "wrong.py"))
    first, second = str(raised.value).splitlines()
    assert first.endswith("wrong.py has 1 problem:")
    assert "wrong.py:12: trials: found 0; allowed: 1 or more" in second


def test_a_field_that_a_class_of_searches_lacks_is_named_beside_those_that_it_has(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    wrong = tmp_path / "wrong.py"
    for before, after, said in (
        ("trials=4", "trial=4", r"Search has no field 'trial'; its fields: name, base, .*\(did you mean 'trials'\?\)"),
        ("keep=0.5", "share=0.5", "Halving has no field 'share'; its fields: rungs, keep, band"),
    ):
        wrong.write_text(SEARCH.replace(before, after))
        with pytest.raises(ConfigError, match=said):
            load_search(str(wrong))


def test_a_file_of_a_study_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no function `search\(scale\)`; it declares a study: `pdstudy run`"):
        load_search(str(write_tiny(tmp_path)))
