"""A study on a test cluster, handled as its user would: by the command line; and what a test looks at afterwards."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tests.slurm.site import Site, wait_until

STUDY = """
from pdstudy import *
from pdstudy.config.placement import Execution

STEP = 256

def study(scale="mini"):
    corpus = Corpus(sources=(LocalFiles(paths=({texts!r} + "/*.txt",)),), tokenizer=BPE(vocab=300),
                    validation=0.1, test=0.1)
    view = View(context=32)
    def run(width, start, steps, **changes):
        shape = Shape(width=width, layers=1, heads=2, query_groups=1, ffn=2 * width, vocab=300)
        return Run(student=shape, corpus=corpus, data=Slice(start=start, tokens=20 * STEP), view=view,
                   optimiser=AdamW(lr=5e-3), schedule=Cosine(warmup_tokens=2 * STEP), tokens_per_step=STEP,
                   steps=steps, **changes)
    kd = KD(teacher=run(24, 20 * STEP, 20), truncation=TopPK(p=0.9, k=20), alpha=0.8)
    levels = {{"LM": LM(), "KD": kd}}
    return Study(
        name="grid", base=run(16, 0, {steps}), seeds={seeds}, baseline={{"loss": {losses[0]!r}}},
        grid=axis("loss", {{name: levels[name] for name in {losses}}}, field="objective"){more},
        evaluations=(Heldout(data=Slice(split="validation", tokens=512), every_tokens=40 * STEP),
                     Heldout(data=Slice(split="test", tokens=512))),
        placement=Placement(save_minutes={save_minutes}), outputs=(Compare(),),
    )
"""


def write_texts(folder: Path) -> Path:
    """Real text: the standard library's own sources."""
    import collections
    import contextlib
    import inspect
    import random
    import textwrap

    texts = folder / "texts"
    texts.mkdir(parents=True)
    parts = [p for m in (collections, contextlib, random, textwrap) for p in inspect.getsource(m).split("\n\n\n")]
    for number, part in enumerate(parts):
        (texts / f"{number:04d}.txt").write_text(part)
    return texts


@dataclass
class Lab:
    """One user's folder: a study, a workspace, a site."""

    folder: Path
    texts: Path
    site: Site | None
    settings: list[str] = field(default_factory=list)

    def write(
        self,
        *,
        steps: int = 20,
        seeds: tuple[int, ...] = (0, 1),
        losses: tuple[str, ...] = ("LM", "KD"),
        save_minutes: float = 0.02,
        more: str = "",
    ) -> Lab:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "grid.py").write_text(
            STUDY.format(texts=str(self.texts), steps=steps, seeds=seeds, losses=losses, save_minutes=save_minutes,
                         more=more)
        )  # fmt: skip
        return self

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    # --- the user's side

    @property
    def environment(self) -> dict[str, str]:
        site = self.site.env if self.site is not None else {}
        own = {"PDSTUDY_WORKSPACE": str(self.workspace), "XDG_CONFIG_HOME": str(self.folder / "home")}
        # Commands are timed as users have them: with their modules compiled.
        return {**os.environ, **site, **own, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}

    def start(self, *words: str) -> subprocess.Popen[str]:
        def hear_interrupts() -> None:
            """A suite that was started in the background ignores them, and so would all that it starts."""
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        return subprocess.Popen([sys.executable, "-m", "pdstudy.cli", *words], cwd=self.folder, env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                preexec_fn=hear_interrupts)  # fmt: skip

    def call(self, *words: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "pdstudy.cli", *words], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True, timeout=timeout)  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def submit(self, *words: str) -> dict[str, Any]:
        settings = [part for setting in self.settings for part in ("--set", setting)]
        text = self.call("submit", "grid.py", "--json", *settings, *words).stdout
        return dict(json.loads(text))

    def status(self) -> dict[str, dict[str, Any]]:
        """Status rows by cell name, or by stage for what is no cell."""
        rows = json.loads(self.call("status", "grid.py", "--json").stdout)
        return {(r["cells"] or [r["kind"]])[0]: r for r in rows}

    def states(self) -> dict[str, str]:
        return {name: row["state"] for name, row in self.status().items()}

    # --- waiting

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        try:
            wait_until(condition, seconds, what)
        except TimeoutError as error:
            queue = self.site.ask("squeue", "-r", "-t", "all") if self.site is not None else ""
            raise AssertionError(f"{error}\n{queue}\n{self.job_logs()}") from error

    def wait_for_queue(self, seconds: float = 240) -> None:
        """Until nothing of anyone is queued or running."""
        site = self.site
        assert site is not None
        self.wait(lambda: not site.ask("squeue", "-h").strip(), seconds, "an empty queue")

    def job_logs(self) -> str:
        logs = [*self.workspace.glob("slurm/arrays/*/*_log.err"), *self.workspace.glob("runs/*/log.txt")]
        return "\n".join(f"== {p}\n{p.read_text(errors='replace')[-2000:]}" for p in logs)

    def step(self, cell: str) -> int:
        """The newest step that a cell's metrics have."""
        rows = self.rows(self.run_key(cell), "metrics")
        return int(rows[-1]["step"]) if rows else 0

    def wait_for_step(self, cell: str, step: int, seconds: float = 120) -> None:
        self.wait(lambda: self.step(cell) >= step, seconds, f"step {step} of {cell}")

    def wait_for_checkpoint(self, cell: str, seconds: float = 120) -> None:
        folder = self.workspace / "runs" / self.run_key(cell) / "checkpoints"
        self.wait(lambda: list(folder.glob("step-*")), seconds, f"a checkpoint of {cell}")

    # --- what is on the disk

    def run_key(self, cell: str) -> str:
        """The key of a cell's run, from the record that submit wrote; "teacher" for the teacher's."""
        path = self.workspace / "studies" / "grid.json"
        if not path.exists():
            return "unknown"
        record = json.loads(path.read_text())
        if cell == "teacher":
            return str(record["teachers"][0]["run"])
        return next(str(c["run"]) for c in record["cells"] if c["name"] == cell)

    def rows(self, key: str, name: str) -> list[dict[str, Any]]:
        path = self.workspace / "runs" / key / f"{name}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def attempts(self, cell: str) -> list[dict[str, Any]]:
        kind = "teacher" if cell == "teacher" else "student"
        path = self.workspace / "slurm" / "attempts" / f"{kind}~{self.run_key(cell)}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def raw_job(self, cell: str) -> str:
        """The job of a cell's newest attempt, as its processes know it."""
        assert self.site is not None
        element = [r for r in self.attempts(cell) if r["event"] == "start"][-1]["job"]
        text = self.site.ask("scontrol", "show", "job", "-o", element)
        return next(word.split("=")[1] for word in text.split() if word.startswith("JobId="))

    def outcome(self, key: str) -> dict[str, Any]:
        """What a run came to, to the bit: every row, every evaluation, every weight. Rows must not come twice."""
        metrics = [{k: r[k] for k in ("step", "loss", "lm", "grad_norm", "lr")} for r in self.rows(key, "metrics")]
        steps = [r["step"] for r in metrics]
        assert steps == sorted(set(steps)), f"{key} has rows twice: {steps}"
        evals = [(r["step"], r["eval"], r["final"], r["loss"]) for r in self.rows(key, "evals")]
        assert len(evals) == len(set(evals)), f"{key} has evaluations twice"
        weights = {}
        with safe_open(self.workspace / "runs" / key / "model" / "model.safetensors", "numpy") as file:
            for name in sorted(file.keys()):
                weights[name] = file.get_tensor(name).tobytes()
        state = json.loads((self.workspace / "runs" / key / "result.json").read_text())["state"]
        return {"state": state, "metrics": metrics, "evals": evals, "weights": weights}

    def outcomes(self) -> dict[str, dict[str, Any]]:
        return {p.parent.name: self.outcome(p.parent.name) for p in self.workspace.glob("runs/*/result.json")}

    def take_from(self, other: Lab, *parts: str) -> None:
        """Copy finished artifacts ("corpora", "stores", "runs/KEY") of another workspace."""
        for part in parts:
            shutil.copytree(other.workspace / part, self.workspace / part)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the commands that an action runs (what it takes on a quiet machine), and its result."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, result
