"""What the README shows is run, so that it cannot fall behind the code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tests.core.cli import call

ROOT = Path(__file__).parents[2]


def test_the_scale_of_a_node_can_be_planned(tmp_path: Path) -> None:
    """The example appended to scales.py, as the README says, in a folder without the teacher or the text."""
    (example,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if 'SCALES["node"]' in block
    )
    shutil.copytree(ROOT / "studies" / "paper", tmp_path / "studies" / "paper")
    with (tmp_path / "studies" / "paper" / "scales.py").open("a") as scales:
        scales.write("\n" + example)
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
