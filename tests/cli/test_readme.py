"""What the README shows is run, so that it cannot fall behind the code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, create_trial

from pdstudy.search import Search
from pdstudy.search.final import make_final_study
from pdstudy.search.search_file import load_search
from tests.core.cli import call

ROOT = Path(__file__).parents[2]


def example(word: str) -> str:
    """The block of Python in the README that has a word."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return str(found)


def test_the_search_beside_the_quickstart_is_sound(tmp_path: Path) -> None:
    shutil.copy(ROOT / "studies" / "quickstart.py", tmp_path)
    (tmp_path / "mine.py").write_text(example("def search"))
    search = load_search(str(tmp_path / "mine.py"))
    assert (search.name, search.trials) == ("mine", 20)
    assert len(make_final_study(search, [finished(search)]).cells) == 3 * 5


def finished(search: Search) -> FrozenTrial:
    params = {"objective/LM": 0.1, "objective/KL": 0.5, "optimiser.lr": 5e-3}
    trial = create_trial(value=1.0, params={}, distributions={}, user_attrs={"runs": ["a"]})
    trial.params = params
    return trial


@pytest.mark.integration
def test_the_scale_of_a_node_can_be_planned(tmp_path: Path) -> None:
    """The example appended to scales.py, as the README says, in a folder without the teacher or the text."""
    shutil.copytree(ROOT / "studies" / "paper", tmp_path / "studies" / "paper")
    with (tmp_path / "studies" / "paper" / "scales.py").open("a") as scales:
        scales.write("\n" + example('SCALES["node"]'))
    done = call(tmp_path, "plan", "studies/paper", "--scale", "node", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    absent = [w for w in plan["warnings"] if w.startswith("not here: ")]
    assert any("text/*.parquet" in w for w in absent)
    assert any("teachers/qwen3-8b" in w for w in absent)
    assert not [w for w in plan["warnings"] if "glm" in w]
    labels = " ".join(item["label"] for item in plan["items"])
    assert all(f"student={name}" in labels for name in ("100M", "200M", "460M"))
    assert 800 < plan["totals"]["device_hours_todo"] < 1000, "the README says how many"
    assert (plan["totals"]["done"], plan["account"]["teachers"]["trained"]) == (0, 1)
