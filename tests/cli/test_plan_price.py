"""The first and the last line of a plan: its price, and the right next command."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pdstudy import H100, Machine
from pdstudy.cli.machine_tables import Here
from pdstudy.cli.plan_price import next_step, price_line
from pdstudy.cli.plan_tables import print_plan
from pdstudy.core.validation import Problem
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import leave_finished
from tests.study.test_study import make_study

CORE = Machine(name="a core", flops_per_second=1e9, unit="core-hours")


def plan_of(tmp_path: Path, machine: Machine, *, done: int = 0) -> Plan:
    """A plan of the demo study with `done` runs finished, on a machine that lacks none of its packages."""
    study = dataclasses.replace(make_study(), machine=machine, evaluations=())
    workspace = Workspace(tmp_path)
    for cell in study.cells[:done]:
        leave_finished(workspace, cell.run)
    return dataclasses.replace(make_plan(study, workspace), packages=())


def test_the_price_is_the_first_line_of_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, CORE)
    print_plan(plan, Workspace(tmp_path), Here(2), why=False, call="demo.py")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == price_line(plan, Here(2))
    assert lines[0].startswith("demo: ")
    assert " core-" in lines[0]
    assert lines[0].endswith(" here on 2 workers")
    assert lines[-1] == "next: pdstudy run demo.py"


def test_what_is_priced_in_gpus_has_no_time_on_a_machine_without(tmp_path: Path) -> None:
    assert "here" not in price_line(plan_of(tmp_path, H100), Here(2))


def test_next_is_what_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(2)
    assert next_step(plan_of(tmp_path, H100), here, "demo").startswith("pdstudy submit demo --dry-run (")
    slow = dataclasses.replace(CORE, flops_per_second=1.0)
    assert next_step(plan_of(tmp_path, slow), here, "demo").startswith("pdstudy submit demo --dry-run (")
    plan = plan_of(tmp_path, CORE)
    lacking = Problem("downstream", "lm-eval", "installed packages: pip install 'pdstudy[eval]'", missing=True)
    assert next_step(dataclasses.replace(plan, packages=(lacking,) * 2), here, "x") == "pip install 'pdstudy[eval]'"
    first, *others = plan.artifacts
    failed = dataclasses.replace(plan, artifacts=(dataclasses.replace(first, state="failed"), *others))
    assert next_step(failed, here, "demo") == "pdstudy status demo"
    made = dataclasses.replace(plan, artifacts=tuple(dataclasses.replace(a, done=True) for a in plan.artifacts))
    assert next_step(made, here, "demo") == "pdstudy report demo"
    assert "nothing to make" in price_line(made, here)
    texts = Problem("corpus.sources[0].paths[0]", "corpus/*.jsonl", "files", missing=True)
    monkeypatch.setattr(Study, "missing", (texts, texts, texts))
    wanted = "pdstudy submit demo --dry-run, on the machine that has corpus/*.jsonl and 2 more"
    assert next_step(dataclasses.replace(plan, study=dataclasses.replace(plan.study)), here, "demo") == wanted
