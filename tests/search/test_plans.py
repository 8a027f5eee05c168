"""What searches want made, as plans."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import pytest

from pdstudy import KD, AdamW, Run, Tail, TopPK
from pdstudy.cli.progress import SearchLines
from pdstudy.cli.search_tables import print_price
from pdstudy.cli.target import observed_plan
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.plan.record import write_record
from pdstudy.search.cost import priced
from pdstudy.search.final import make_final_plan
from pdstudy.search.local_driver import run_search
from pdstudy.search.search import Search
from pdstudy.search.search_file import load_search
from pdstudy.search.search_record import weights
from pdstudy.search.space import Changes, Choice, Uniform
from pdstudy.search.strategy import Halving, Random
from pdstudy.search.trial_plans import plan_requested, plan_trials
from pdstudy.search.trial_results import RunResult
from pdstudy.search.trials import Trials
from pdstudy.search.warm_start import invert_run
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.test_normal import make_run, make_teacher
from tests.core.tiny import write_tiny
from tests.search.synthetic import answered, make_search
from tests.search.test_final import finals
from tests.search.test_local import SEARCH

STUDIES = Path(__file__).parents[2] / "studies"


def cut_search() -> Search:
    """A space of truncations, on a schedule whose budgets share a trunk."""
    base = make_run(objective=KD(teacher=make_teacher(), rest=Tail(), truncation=TopPK(p=0.9, k=20)))
    cuts = Choice({"5": TopPK(p=0.9, k=5), "50": TopPK(p=0.9, k=50)})
    return make_search(base=base, space={"objective.truncation": cuts}, pruner=Halving((1280, 3200)))


def asking(k: int) -> Changes:
    return [("objective.truncation", TopPK(p=0.9, k=k))]


def cells(plan: Plan) -> list[str]:
    return [name for item in plan.artifacts for name in item.cells]


def test_the_stores_of_one_trial_serve_the_whole_space(tmp_path: Path) -> None:
    search, workspace = cut_search(), Workspace(tmp_path)
    shared = plan_trials(search, workspace, [])
    plan = plan_trials(search, workspace, [(0, asking(5), 0)])
    assert [i.key for i in plan.artifacts if i.kind != "student"] == [i.key for i in shared.artifacts]
    assert cells(shared) == []
    (store,) = plan.stores
    assert store.need.coverage.k == 50


def test_a_search_is_priced_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search, workspace = dataclasses.replace(cut_search(), seeds=(0, 1), trials=7), Workspace(tmp_path)
    shared, price = priced(search, workspace)
    assert [i.kind for i in shared.artifacts] == ["corpus", "teacher", "logits"]
    runs = [i.flops for i in plan_trials(search, workspace, [(0, asking(5), 2)]).artifacts if i.kind == "student"]
    assert len(runs) == 2 * 3
    assert price["flops_of_a_trial"] == {
        "pruned_at_once": [2 * min(runs)] * 2,
        "trained_in_full": pytest.approx([sum(runs)] * 2),
    }
    assert price["flops_of_all"]["trained_in_full"] == pytest.approx([7 * sum(runs)] * 2)
    print_price(search, shared, price)
    assert "7 trials, all pruned at their first rung: " in capsys.readouterr().out
    assert not (tmp_path / "searches").exists()


def test_a_search_whose_texts_are_elsewhere_is_priced_and_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = load_search(str(STUDIES / "search_mixture.py"), "paper")
    shared, price = priced(search, Workspace(tmp_path))
    assert sum("not here: " in warning for warning in shared.warnings) == 2
    assert 5e22 < price["flops_of_all"]["trained_in_full"][0] < 5e24
    with pytest.raises(ConfigError, match="can be planned here, not run"):
        run_search(search, Workspace(tmp_path), workers=1, view=SearchLines())
    with pytest.raises(ConfigError, match=r"a file, folder or glob that is there"):
        plan_trials(dataclasses.replace(search, elsewhere=False), Workspace(tmp_path), [])


def test_a_trial_is_planned_with_the_rungs_that_it_has_passed(tmp_path: Path) -> None:
    search = cut_search()
    plan = plan_trials(search, Workspace(tmp_path), [(3, asking(5), 2), (4, asking(50), 0)])
    assert sorted(cells(plan)) == ["trial=3,seed=0", "trial=3@1280,seed=0", "trial=3@3200,seed=0", "trial=4,seed=0"]
    # A trial that is a corner of its space is no less a trial.
    assert {c.name for c in plan.study.cells} == set(cells(plan))


def test_lookers_on_see_what_was_asked_and_nothing_is_changed(tmp_path: Path) -> None:
    search, workspace = make_search(trials=3, sampler=Random(), pruner=Halving((1280,))), Workspace(tmp_path)
    assert cells(plan_requested(search, workspace)) == []
    assert not (tmp_path / "searches").exists()
    trials = Trials(search, workspace, lambda run: RunResult({"loss": 1.0}) if run.num_tokens == 1280 else None)
    assert [a.rung for a in trials.step(2)] == [1, 1]
    seen = plan_requested(search, workspace)
    assert sorted(cells(seen)) == [f"trial={n},seed=0" for n in ("0", "0@1280", "1", "1@1280")]
    assert cells(plan_requested(search, workspace, "trial=1,*")) == ["trial=1,seed=0"]
    kinds = {item.kind for item in plan_requested(search, workspace, "trial=1,*").artifacts}
    assert kinds == {item.kind for item in seen.artifacts}


def test_a_last_comparison_of_another_space_is_not_looked_for(tmp_path: Path) -> None:
    workspace, search = Workspace(tmp_path), finals()
    Trials(search, workspace, answered).step(1)
    write_record(make_final_plan(search, workspace), workspace)
    assert any("arm=PD*" in name for name in cells(plan_requested(search, workspace)))
    changed = dataclasses.replace(search, space={"objective.alpha": Uniform(0.5, 1.0)})
    assert cells(plan_requested(changed, workspace)) == []


def test_a_file_is_seen_as_the_search_or_the_study_that_it_declares(tmp_path: Path) -> None:
    study = write_tiny(tmp_path)
    (tmp_path / "little.py").write_text(SEARCH)
    workspace = Workspace(tmp_path / "ws")
    assert observed_plan(str(tmp_path / "little.py"), None, workspace).study.name == "little"
    assert observed_plan(str(study), None, workspace).study.name == "tiny"
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match="defines no function `study"):
        observed_plan(str(tmp_path / "empty.py"), None, workspace)


def test_the_searched_mixture_is_taken_apart_one_change_at_a_time(tmp_path: Path) -> None:
    study = load_study(str(STUDIES / "search_apart.py"))
    plan = make_plan(study, Workspace(tmp_path))
    assert not plan.problems
    assert Counter(i.kind for i in plan.artifacts) == {"corpus": 1, "teacher": 1, "logits": 1, "student": 30}
    search = load_search(str(STUDIES / "search_mixture.py"))
    assert search.final is not None
    assert not {c.seed for c in study.cells} & {*search.seeds, *search.final.seeds}
    arms = {cell.labels["arm"]: cell.run for cell in study.cells}
    first, tail, rate, steady, mixture, usual = arms.values()
    steps = [unlike(a, b) for a, b in itertools.pairwise((first, tail, rate, steady, mixture))]
    assert steps == [{"rest"}, {"lr"}, {"alpha", "mix"}, {"loss"}]
    assert unlike(mixture, usual) == {"lr"}
    assert usual.optimiser.lr == first.optimiser.lr
    found = invert_run(search, dataclasses.replace(mixture, seed=search.seeds[0]))
    assert found is not None
    assert weights(search, found.params)["objective"] == pytest.approx(
        {"LM": 0.121, "KL": 0.593, "reverse KL": 0.196, "JSD": 0.0898}, abs=5e-4
    )


def unlike(a: Run, b: Run) -> set[str]:
    """The fields of objective and optimiser in which two runs of one seed differ; that they differ in no other."""
    assert dataclasses.replace(a, objective=b.objective, optimiser=b.optimiser) == b
    a_kd, b_kd = a.objective, b.objective
    assert isinstance(a_kd, KD)
    assert isinstance(b_kd, KD)
    pairs = [(f.name, getattr(a_kd, f.name), getattr(b_kd, f.name)) for f in dataclasses.fields(KD)]
    pairs += [(f.name, getattr(a.optimiser, f.name), getattr(b.optimiser, f.name)) for f in dataclasses.fields(AdamW)]
    return {name for name, x, y in pairs if x != y}
