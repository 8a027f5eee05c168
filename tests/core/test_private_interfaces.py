"""Private interfaces of other packages: each is listed here, works with the installed version, and is bounded."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import tomllib
from importlib import metadata
from pathlib import Path

import optuna
import pytest
from submitit.core import utils
from submitit.slurm import slurm

from pdstudy.config.placement import resolve
from pdstudy.slurm.arrays import Array
from pdstudy.slurm.job import Job
from pdstudy.slurm.sbatch import make_parameters

ROOT = Path(__file__).parents[2]

USED = {
    "_trial_id": "optuna",
    "_make_sbatch_string": "submitit",
    "_loglikelihood_tokens": "lm-eval",
    "_no_split_modules": "transformers",
    "_can_record_outputs": "transformers",
    "_supports_sdpa": "transformers",
    "_supports_flash_attn": "transformers",
}
"""Private names of other packages that pdstudy uses, and whose they are."""

OURS = {"_exit", "_getframe", "_apply", "_typeshed", "_replace", "_SubParsersAction", "_actions", "_read"}
"""Private by their first letter only: Python's own, or a class's own on another of its instances."""


def find_private_names(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("pdstudy"):
            found |= {*node.module.split("."), *(alias.name for alias in node.names)}
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def test_every_private_interface_in_use_is_listed_and_its_package_bounded() -> None:
    found = {name for path in (ROOT / "pdstudy").rglob("*.py") for name in find_private_names(path)}
    assert found - OURS == set(USED)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    bounded = {re.split(r"[><=\[ ]", line)[0] for line in wanted if "<" in line}
    assert set(USED.values()) <= bounded


def test_submitit_writes_the_text_of_a_preview_and_the_pickles_of_an_adopted_array(tmp_path: Path) -> None:
    """`render_sbatch` and `finish_submission` do with these what submitit does inside of its executor."""
    version = f"submitit {metadata.version('submitit')}"
    known = inspect.signature(slurm._make_sbatch_string).parameters
    job = Job("student/x", "student", resolve((), "student", 0))
    array = Array("student", job.execution, ((job,),), frozenset())
    used = {"command", "folder", "map_count", *make_parameters(array, "ID", "afterok:1", "study", tmp_path, 1)}
    assert used <= set(known), f"{version}: _make_sbatch_string knows {sorted(known)}, pdstudy.slurm.sbatch uses {used}"
    delayed = utils.DelayedSubmission(len, "abc")
    delayed.set_timeout(1, 0)
    path = utils.JobPaths(tmp_path, "7_1", 0).submitted_pickle
    assert path.name == "7_1_submitted.pkl", f"{version}: jobs look for their pickles under another name"
    delayed.dump(path)
    assert utils.DelayedSubmission.load(path).result() == 3
    assert importlib.util.find_spec("submitit.core._submit") is not None, f"{version}: jobs are started in another way"


@pytest.mark.filterwarnings("error")
def test_a_stored_trial_of_optuna_is_taken_up_by_its_id() -> None:
    """`pdstudy.search.trials` goes on with trials whose process is gone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    drawn = study.ask().suggest_float("x", 0, 1)
    (stored,) = study.get_trials()
    taken_up = optuna.Trial(study, stored._trial_id)
    assert taken_up.suggest_float("x", 0, 1) == drawn, f"optuna {metadata.version('optuna')}"
    taken_up.set_user_attr("rung", 1)
    study.tell(taken_up.number, 2.0)
    assert study.best_trial.user_attrs == {"rung": 1}
