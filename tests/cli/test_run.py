"""The whole way on the tiny study, as a user types it: run, again, status, results, report; and what may go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from pdstudy.analysis.errors import AnalysisError
from tests.core.cli import PDSTUDY, call, metrics, results
from tests.core.tiny import write_tiny


@pytest.mark.integration
def test_a_second_run_makes_nothing(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "workspace" / "runs").rglob("*") if p.is_file()}
    begun = time.perf_counter()
    again = call(finished, "run", "tiny.py")
    assert again.returncode == 0
    assert "all 7 artifacts exist" in again.stdout
    assert time.perf_counter() - begun < 10
    assert before == {p: p.stat().st_mtime_ns for p in (finished / "workspace" / "runs").rglob("*") if p.is_file()}


@pytest.mark.integration
def test_status_results_and_logs(finished: Path) -> None:
    states = json.loads(call(finished, "status", "tiny.py", "--json").stdout)
    assert {s["state"] for s in states} == {"done"}
    assert "7 done" in call(finished, "status", "tiny.py").stdout
    rows = json.loads(call(finished, "results", "tiny.py", "--json").stdout)
    assert [r["loss"] for r in rows] == ["LM", "LM", "KD", "KD"]
    assert all(1 < r["test_loss"] < 7 for r in rows)
    call(finished, "results", "tiny.py", "--csv", "runs.csv")
    frame = pd.read_csv(finished / "runs.csv")
    assert set(frame["config.objective.is"]) == {"LM", "KD"}
    assert frame.loc[frame["loss"] == "KD", "config.objective.truncation.k"].unique() == [20]
    log = call(finished, "logs", "tiny.py", "loss=KD,seed=0").stdout
    assert "== student loss=KD,seed=0" in log
    for line in (
        "attempt 1 begins after step 0 of 20",
        "step 1/20: loss ",
        "step 20: test loss ",
        "done after step 20",
    ):
        assert line in log


@pytest.mark.integration
def test_the_frame_in_python(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pdstudy

    monkeypatch.chdir(finished)
    frame = pdstudy.results("tiny.py", workspace=finished / "workspace")
    assert list(frame["state"]) == ["done"] * 4
    assert frame["teacher_total"].notna().sum() == 2
    drawn = pdstudy.curves("tiny.py", workspace=finished / "workspace", split="test")
    assert set(drawn.data["arm"]) == {"KD", "LM"}
    assert drawn._repr_html_().startswith("<figure>")
    with pytest.raises(AnalysisError, match="evaluated are: "):
        pdstudy.curves("tiny.py", workspace=finished / "workspace", split="nowhere")
    shown = pdstudy.figures("tiny.py", workspace=finished / "workspace")
    assert len(shown) > 0
    assert shown._repr_html_().count("<h3>") == len(shown)


@pytest.mark.integration
def test_the_report_is_whole_escaped_and_the_same_twice(finished: Path) -> None:
    made = call(finished, "report", "tiny.py", "--out", "report")
    assert made.returncode == 0, made.stderr
    page = (finished / "report" / "index.html").read_text()
    assert "Tiny &amp; &lt;quick&gt;." in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "2 done" not in page
    first = {p.name: p.read_bytes() for p in (finished / "report").rglob("*") if p.is_file()}
    assert {"index.html", "runs.csv"} <= set(first)
    assert any(n.endswith(".pdf") for n in first)
    assert any(n.endswith(".tex") for n in first)
    call(finished, "report", "tiny.py", "--out", "report")
    assert first == {p.name: p.read_bytes() for p in (finished / "report").rglob("*") if p.is_file()}


@pytest.mark.integration
def test_a_report_of_partial_data_says_what_is_missing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    copy = tmp_path / "copy"
    states = json.loads(call(finished, "status", "tiny.py", "--json").stdout)
    victim = next(s["key"] for s in states if s["cells"] == ["loss=KD,seed=1"])
    shutil.rmtree(copy / "workspace" / "runs" / victim)
    made = call(copy, "report", "tiny.py", "--out", "report")
    assert made.returncode == 0, made.stderr
    assert "1 of 4 runs are not done: loss=KD,seed=1 (new)" in (copy / "report" / "index.html").read_text()


@pytest.mark.integration
def test_the_export_gives_the_recorded_test_loss(finished: Path) -> None:
    """In a plain transformers model, by a plain cross-entropy, as a stranger would compute it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pdstudy.corpus import open_corpus
    from pdstudy.study.study_file import load_study
    from pdstudy.workspace.layout import Workspace

    workspace = Workspace(finished / "workspace")
    study = load_study(str(finished / "tiny.py"))
    for cell in (study.cells[0], study.cells[-1]):
        directory = workspace.run(cell.run)
        model = AutoModelForCausalLM.from_pretrained(directory.model)
        assert AutoTokenizer.from_pretrained(directory.model).vocab_size > 256
        tokens = torch.from_numpy(open_corpus(workspace.corpus(cell.run.corpus)).stream("test").tokens(0, 513))
        inputs, targets = tokens[:-1].view(-1, 32), tokens[1:].view(-1, 32)
        with torch.no_grad():
            logits = model(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
        (recorded,) = [e["loss"] for e in directory.result()["evals"] if e["split"] == "test"]  # type: ignore[index]
        assert abs(loss - recorded) < 1e-4


@pytest.mark.integration
def test_another_evaluation_is_added_to_finished_runs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    copy = tmp_path / "copy"
    study = copy / "tiny.py"
    study.write_text(study.read_text().replace('split="test", tokens=512', 'split="test", tokens=1024'))
    plan = json.loads(call(copy, "plan", "tiny.py", "--json").stdout)
    assert {i["state"] for i in plan["items"] if not i["done"]} == {"evaluate"}
    before = metrics(copy)
    done = call(copy, "run", "tiny.py", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert metrics(copy) == before
    rows = json.loads(call(copy, "results", "tiny.py", "--json").stdout)
    assert all(r["test_loss"] for r in rows)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(folder / "workspace")}
    return subprocess.Popen([*PDSTUDY, *words], cwd=folder, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)  # fmt: skip


def wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def worker_pids(driver: int) -> list[int]:
    children = Path(f"/proc/{driver}/task/{driver}/children")
    return [int(p) for p in children.read_text().split()] if children.exists() else []


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers through /proc")


@pytest.mark.integration
@needs_proc
def test_a_killed_worker_a_stop_and_a_killed_driver_lose_nothing(finished: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path)
    # The same texts give the same corpus, so the two folders must agree run by run.
    driver = start(tmp_path, "run", "tiny.py", "--workers", "1", "--plain")
    running = tmp_path / "workspace" / "runs"
    wait_for(lambda: list(running.glob("*/metrics.jsonl")))
    os.kill(worker_pids(driver.pid)[0], signal.SIGKILL)
    wait_for(lambda: list(running.glob("*/result.json")))
    driver.send_signal(signal.SIGINT)
    text, _ = driver.communicate(timeout=120)
    assert driver.returncode in (0, 130), text
    assert "trying again from the newest checkpoint" in text
    assert "Traceback" not in text
    driver = start(tmp_path, "run", "tiny.py", "--workers", "1", "--plain")
    time.sleep(2.5)
    workers = worker_pids(driver.pid)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not any(Path(f"/proc/{w}").exists() for w in workers))
    done = call(tmp_path, "run", "tiny.py", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path) == results(finished)
    assert metrics(tmp_path) == metrics(finished)


@pytest.mark.integration
@needs_proc
def test_the_second_of_two_runs_says_who_runs_it(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    first = start(tmp_path, "run", "tiny.py", "--workers", "1", "--plain")
    try:
        wait_for(lambda: (tmp_path / "workspace" / "studies" / "tiny.claim").exists())
        second = call(tmp_path, "run", "tiny.py", "--workers", "1")
        assert second.returncode == 2
        assert f"process {first.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)


@pytest.mark.integration
def test_one_bad_run_stops_nothing_else(tmp_path: Path) -> None:
    study = write_tiny(tmp_path)
    huge = ' + arm("huge", {"optimiser.lr": 1e30, "optimiser.clip": 1e30}, axis="loss")'
    study.write_text(study.read_text().replace('field="objective"),', f'field="objective"){huge},'))
    done = call(tmp_path, "run", "tiny.py", "--workers", "1")
    rows = json.loads(call(tmp_path, "results", "tiny.py", "--json").stdout)
    states = {(r["loss"], r["seed"]): r["state"] for r in rows}
    assert states["huge", 0] == "diverged", (done.stdout, done.stderr)
    assert states["LM", 1] == states["KD", 1] == "done"
    assert "diverged: loss=huge,seed=0" in done.stderr


@pytest.mark.integration
def test_user_errors_are_one_message_without_a_traceback(tmp_path: Path) -> None:
    study = write_tiny(tmp_path)
    good = study.read_text()
    cases = {
        "p=0.9": ("p=0", "objective.truncation.p: found 0"),
        "alpha=0.8": ("alpha=1.5", "objective.alpha: found 1.5; allowed: 0 to 1"),
        'baseline={"loss": "LM"}': ('baseline={"loss": "ML"}', "found 'ML'"),
        "AdamW(lr=5e-3)": ("AdamW(lrr=5e-3)", "did you mean 'lr'"),
        "tokens_per_step=STEP": ("tokens_per_step=250", "a multiple of the context, 32"),
    }
    for old, (new, expected) in cases.items():
        study.write_text(good.replace(old, new))
        failed = call(tmp_path, "plan", "tiny.py")
        assert failed.returncode == 2
        assert expected in failed.stderr, (new, failed.stderr)
        assert "tiny.py:" in failed.stderr
        assert "Traceback" not in failed.stderr
    assert "Traceback" in call(tmp_path, "plan", "tiny.py", "--debug").stderr
    assert call(tmp_path, "plan", "absent.py").returncode == 2
    study.write_text(good)
    nobody = call(tmp_path, "run", "tiny.py", "--only", "loss=XX*")
    assert nobody.returncode == 2
    assert "matches no run" in nobody.stderr


@pytest.mark.integration
def test_a_new_study_plans_as_it_is(tmp_path: Path) -> None:
    assert call(tmp_path, "new", "mine").returncode == 0
    planned = call(tmp_path, "plan", "mine")
    assert planned.returncode == 0, planned.stderr
    assert "6 runs" in planned.stdout
    assert call(tmp_path, "new", "mine").returncode == 2
    assert call(tmp_path, "new", "../mine").returncode == 2


@pytest.mark.slow
def test_a_trial_leaves_the_study_alone(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    tried = call(tmp_path, "run", "tiny.py", "--only", "*seed=0", "--steps", "3")
    assert tried.returncode == 0, tried.stderr
    assert "student loss=KD,seed=0: done" in tried.stdout
    again = call(tmp_path, "run", "tiny.py", "--only", "*seed=0", "--steps", "3")
    assert again.stdout == tried.stdout
    assert "step 3 of 3" not in tried.stdout + tried.stderr  # that is in the logs
    plan = json.loads(call(tmp_path, "plan", "tiny.py", "--json").stdout)
    assert plan["totals"]["done"] == 0


@pytest.mark.integration
def test_doctor_reads_and_reports(tmp_path: Path) -> None:
    findings = {f["name"]: f for f in json.loads(call(tmp_path, "doctor", "--json").stdout)}
    assert findings["torch"]["state"] == "ok"
    assert findings["workspace"]["state"] == "ok"
    assert re.search(r": [\d.]+[KMGT]B free$", findings["workspace"]["found"])
    assert not (tmp_path / "workspace").exists()


@pytest.mark.slow
@needs_proc
def test_a_worker_that_was_told_to_stop_goes_on(tmp_path: Path) -> None:
    """SIGTERM from outside is no end of a run; and with `--json` there is nothing but JSON on standard output."""
    write_tiny(tmp_path, steps=60)
    environment = {**os.environ, "PDSTUDY_WORKSPACE": str(tmp_path / "workspace")}
    words = ["run", "tiny.py", "--workers", "1", "--only", "loss=LM,seed=0", "--json"]
    driver = subprocess.Popen([*PDSTUDY, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    wait_for(lambda: list((tmp_path / "workspace" / "runs").glob("*/metrics.jsonl")))
    os.kill(worker_pids(driver.pid)[0], signal.SIGTERM)
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert "stopped by signal 15; trying again" in err
    outcome = json.loads(out)
    assert (len(outcome["done"]), outcome["failed"], outcome["blocked"]) == (2, {}, [])
    assert [p.parent.name for p in (tmp_path / "workspace" / "runs").glob("*/result.json")] == [outcome["done"][1]]
    again = call(tmp_path, *words)
    assert json.loads(again.stdout)["done"] == []


@pytest.mark.integration
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`pdstudy plan ... | head -1`: quiet, as other tools are, and no code of a user's error."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PDSTUDY, "doctor"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.integration
def test_no_workers_is_refused(finished: Path) -> None:
    for value in ("0", "-1"):
        refused = call(finished, "run", "tiny.py", "--workers", value)
        assert refused.returncode == 2
        assert "allowed: 1 or more" in refused.stderr
