"""Plans on several devices, invented ones: what each worker sees, ranks that make one run, and how they end."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pdstudy.cli import machine_options
from pdstudy.cli.main import main
from pdstudy.cli.progress import PlainView
from pdstudy.config.placement import Execution
from pdstudy.core.files import read_jsonl
from pdstudy.launch.devices import Devices
from pdstudy.launch.gpus import Gpu
from pdstudy.launch.local import RunOutcome, run_plan
from pdstudy.plan.builder import make_plan
from pdstudy.plan.plan import Plan
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.tiny import write_tiny

RECORDER = """#!/bin/bash
echo "$CUDA_VISIBLE_DEVICES|${{RANK:--}}|${{LOCAL_RANK:--}}|${{WORLD_SIZE:--}}" >> {seen}
{script}
exec {python} "$@"
"""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which each process of a worker writes its devices and rank as it starts."""
    record_processes(tmp_path, monkeypatch)
    return tmp_path / "seen"


def record_processes(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str = "") -> None:
    python = folder / "python"
    python.write_text(RECORDER.format(seen=folder / "seen", python=sys.executable, script=script))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def tiny_plan(folder: Path, name: str = "workspace") -> tuple[Plan, Workspace]:
    """Corpus, LM runs of two seeds."""
    workspace = Workspace(folder / name)
    study = load_study(str(write_tiny(folder, steps=6)))
    plan = make_plan(study, workspace)
    kept = [a for a in plan.artifacts if a.kind == "corpus" or any(c.startswith("loss=LM") for c in a.cells)]
    return dataclasses.replace(plan, artifacts=tuple(kept)), workspace


def made(plan: Plan, workspace: Workspace, devices: Devices) -> tuple[RunOutcome, str]:
    text = io.StringIO()
    outcome = run_plan(plan, workspace, workers=devices.workers(None, 1), view=PlainView(text), devices=devices)
    return outcome, text.getvalue()


@pytest.mark.slow
def test_each_worker_sees_its_own_device(tmp_path: Path, seen: Path) -> None:
    plan, workspace = tiny_plan(tmp_path)
    outcome, text = made(plan, workspace, Devices(("4", "GPU-7")))
    assert len(outcome.done) == 3
    assert outcome.failed == {}
    # The corpus has none: it is made by a worker that sees no device.
    assert sorted(seen.read_text().splitlines()) == ["4|-|-|-", "GPU-7|-|-|-", "|-|-|-"]
    assert "done on GPU 4" in text
    assert "done on GPU GPU-7" in text
    assert re.search(r"corpus .*: done", text.splitlines()[0])


@pytest.mark.slow
def test_the_ranks_of_a_run_leave_what_one_process_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time rank 1 dies as it starts: its run is begun again, on both devices."""
    script = f'if [ "$RANK" = 1 ] && mkdir {tmp_path}/killed 2>/dev/null; then exit 3; fi'
    record_processes(tmp_path, monkeypatch, script)
    plan, workspace = tiny_plan(tmp_path)
    outcome, text = made(plan, workspace, Devices(("0", "1", "2"), rules=(Execution(gpus=2),)))
    assert (len(outcome.done), outcome.failed) == (3, {})
    assert text.count("its worker left with exit code 3; trying again") == 1
    assert text.count("done on GPUs 0,1") == 2
    lines = (tmp_path / "seen").read_text().splitlines()
    assert sorted(lines) == sorted(["|-|-|-", *3 * ["0,1|0|0|2", "0,1|1|1|2"]])
    assert not list((workspace.root / "claims").glob("student*"))

    alone, one = tiny_plan(tmp_path, "alone")
    assert made(alone, one, Devices(("0", "1")))[0].failed == {}
    for a in plan.runs:
        results = [json.loads((each.root / "runs" / a.key / "result.json").read_text()) for each in (workspace, one)]
        losses = [[row["loss"] for row in result["evals"]] for result in results]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        assert '"ranks": 2' in (workspace.root / "runs" / a.key / "provenance.json").read_text()


DRIVER = """
import dataclasses, sys
from pathlib import Path
from tests.launch.test_several_devices import SHARED, made, one_seed
made(*one_seed(Path(sys.argv[1])), SHARED)
"""

SHARED = Devices(("0", "1"), rules=(Execution(gpus=2), Execution(stage="logits", gpus=2)))


def one_seed(folder: Path) -> tuple[Plan, Workspace]:
    """All that the runs of the first seed need: corpus, teacher, its logits, LM and KD."""
    workspace = Workspace(folder / "workspace")
    plan = make_plan(load_study(str(write_tiny(folder, steps=120))), workspace)
    kept = [a for a in plan.artifacts if not any(c.endswith("seed=1") for c in a.cells)]
    return dataclasses.replace(plan, artifacts=tuple(kept)), workspace


@pytest.mark.slow
def test_ranks_stop_when_their_driver_is_killed_and_go_on_exactly(tmp_path: Path) -> None:
    """Logits that two ranks captured, and runs on two ranks: bit for bit those that nobody disturbed."""
    undisturbed, _ = one_seed(tmp_path / "undisturbed")
    outcome, text = made(*one_seed(tmp_path / "undisturbed"), SHARED)
    assert (len(outcome.done), outcome.failed) == (5, {})
    assert text.count("done on GPUs 0,1") == 4
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "killed")], cwd=Path(__file__).parents[2])
    wait_for(lambda: any(folder_metrics(tmp_path / "killed").values()))
    time.sleep(0.5)
    driver.kill()
    driver.wait()
    plan, workspace = one_seed(tmp_path / "killed")
    wait_for(lambda: not any(run.holder(workspace) for run in plan.runs))
    stopped = [run for run in plan.runs if run.directory(workspace).state() == "stopped"]
    assert stopped or not plan.todo
    assert made(plan, workspace, SHARED)[0].failed == {}
    assert folder_metrics(tmp_path / "killed") == folder_metrics(tmp_path / "undisturbed")
    assert [a.key for a in undisturbed.stores] == [a.key for a in plan.stores]


def folder_metrics(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and loss of each row, by run."""
    return {
        path.parent.name: [(row["step"], row["loss"]) for row in read_jsonl(path)]
        for path in folder.glob("workspace/runs/*/metrics.jsonl")
    }


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_failure_of_one_rank_is_the_failure_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, not those of the rank that lost it, and no process is left waiting."""
    plan, workspace = tiny_plan(tmp_path)
    corpus = dataclasses.replace(plan, artifacts=plan.artifacts[:1])
    made(corpus, workspace, Devices())
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import torch\n"
        "    def fail(*_, **__):\n"
        "        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')\n"
        "    torch.optim.AdamW.step = fail\n"
    )
    record_processes(tmp_path, monkeypatch, f"export PYTHONPATH={tmp_path / 'site'}:$PYTHONPATH")
    (run, *_) = plan.runs
    todo = dataclasses.replace(plan, artifacts=(dataclasses.replace(run, needs=()),))
    outcome, text = made(todo, workspace, Devices(("0", "1"), rules=(Execution(gpus=2),)))
    (message,) = outcome.failed.values()
    assert message.startswith(
        "out of memory on GPUs 0,1; set Placement(micro_batch_tokens=64) (now None: the 128 of a step), or "
        "Placement(activation_checkpointing=True), or Execution(stage='student', gpus=4): the model over more GPUs"
    )
    assert "failed on GPUs 0,1" not in text  # failures go to standard error
    assert workspace.run(run.run).status()["error"] in message
    assert run.holder(workspace) is None


@pytest.mark.integration
def test_the_command_line_says_what_it_does_with_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = tuple(Gpu(str(i), "Invented", 80 << 30, 79 << 30, 9.0) for i in range(4))
    monkeypatch.setattr(machine_options, "gpus_here", lambda: gpus)
    path = write_tiny(tmp_path, steps=6)
    path.write_text(path.read_text().replace("outputs=", "machine=H100, executions=(Execution(gpus=2),), outputs="))
    words = [str(path), "--workspace", str(tmp_path / "ws")]

    def said(*arguments: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main([arguments[0], *words, *arguments[1:]])
        out, err = capsys.readouterr()
        assert ended.value.code == code, out + err
        return out, err

    plain = said("plan")[0]
    assert " here on 4 GPUs\n" in plain
    assert "2 GPUs at a time: teacher" in plain
    found = json.loads(said("plan", "--json", "--gpus", "0,3", "--set", "gpus=1")[0])
    assert found["devices"] == ["0", "3"]
    assert {row["kind"]: row["devices"] for row in found["items"]}["student"] == 1
    assert not math.isnan(found["wall_hours"])
    assert "1 GPU at a time of the 2 that its rules ask for: teacher" in said("plan", "--gpus", "2")[0]
    assert "found 9; allowed: some of 0,1,2,3" in said("run", "--gpus", "9", code=2)[1]
