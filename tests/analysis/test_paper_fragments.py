"""A report for a paper: LaTeX that compiles, methods in words, the references that they cite."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pdstudy import Compare, Curves
from pdstudy.analysis.data.excerpt import Report
from pdstudy.analysis.figures.medium import Medium
from pdstudy.analysis.report.methods import known_references, methods
from pdstudy.analysis.report.report_files import FilesBeside
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.write_report import write_report
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import two_arms


def configured(root: Path) -> dict[str, Any]:
    """Two arms with configurations, under a title that LaTeX would take for commands."""
    record = two_arms(root)
    record |= {"title": "KD & LM at 50 % of $x_1$", "corpora": [{"key": "a", "name": "web_text"}]}
    record["outputs"] = [encode(Compare()), encode(Curves(lines="loss", panels="size", split="test"))]
    for cell in record["cells"]:
        objective: dict[str, Any] = {"is": cell["labels"]["loss"]}
        if objective["is"] == "KD":
            objective |= {"alpha": 0.9, "loss": {"is": "KLD"}, "truncation": {"is": "TopPK", "p": 0.95, "k": 50}}
        run = {"is": "Run", "objective": objective, "tokens_per_step": 1024, "precision": "float32",
               "view": {"is": "View", "context": 128}, "schedule": {"is": "WSD", "warmup_tokens": 4096},
               "optimiser": {"is": "AdamW", "lr": 0.004, "betas": [0.9, 0.95], "weight_decay": 0.1}}  # fmt: skip
        (root / "runs" / cell["run"] / "config.json").write_text(json.dumps({"run": run}))
    return record


def test_methods_say_what_the_runs_did_and_cite_what_they_use(tmp_path: Path) -> None:
    text, keys = methods(Outputs(tmp_path, configured(tmp_path)))
    assert r"Students of \num{2000}, \num{5000}, \num{10000} or \num{21000} non-embedding parameters" in text
    assert r"of web\_text." in text
    assert r"A step takes \num{1024} tokens in sequences of \num{128}" in text
    assert r"the distillation loss is Kullback-Leibler divergence, its share $\alpha$ is \num{0.9}" in text
    assert "Arms are compared with LM on held-out text, paired by seed" in text
    assert set(keys) == {"peng2024pretraining", "hinton2015distilling", "loshchilov2019adamw", "hu2024minicpm",
                         "holm1979simple"}  # fmt: skip
    assert set(re.findall(r"\\cite\{(.*?)\}", text)) == set(keys) <= set(known_references())


def test_methods_without_configurations_say_what_is_known(tmp_path: Path) -> None:
    text, keys = methods(Outputs(tmp_path, two_arms(tmp_path)))
    assert text.startswith("Students of ")
    assert keys == ["holm1979simple"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
@pytest.mark.parametrize("kind", ["pdf", "pgf"])
def test_the_paper_compiles_with_labels_of_its_own_and_figures_of_the_width(tmp_path: Path, kind: str) -> None:
    report = Report("Made", (configured(tmp_path / "workspace"),))
    beside = FilesBeside((kind, "tex", "csv"), Medium(5.5, 9.0), paper=True)
    out = tmp_path / "out"
    write_report(tmp_path / "workspace", report, out, beside)
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], ["bibtex", "paper"],
                    ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]) * 2:  # fmt: skip
        found = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout[-2000:]
    assert "undefined" not in found.stdout
    assert "multiply defined" not in found.stdout
    labels = re.findall(r"\\label\{(.*?)\}", "".join(p.read_text() for p in out.rglob("*.tex")))
    assert len(labels) == len(set(labels)) >= 6
    if kind == "pgf":
        sizes = [re.search(r"usepoint\{(\d+\.\d+)in\}", p.read_text()) for p in out.rglob("*.pgf")]
        assert all("5.500000in" in p.read_text() for p in out.rglob("*.pgf")), sizes
