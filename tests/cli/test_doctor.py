"""What `pdstudy doctor` says of GPUs, invented ones, and of what a study takes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pdstudy.cli import doctor, machine_options
from pdstudy.cli.main import main
from pdstudy.launch.gpus import Gpu
from tests.core.tiny import write_tiny

MODERN = Gpu("0", "NVIDIA H100", 80 << 30, 79 << 30, 9.0)
OLD = Gpu("1", "Tesla V100", 16 << 30, 8 << 30, 7.0)


def findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gpus: tuple[Gpu, ...], torch: dict[str, Any],
    *words: str,
) -> tuple[int, dict[str, list[dict[str, str]]]]:  # fmt: skip
    monkeypatch.setattr(doctor, "gpus_here", lambda: gpus)
    monkeypatch.setattr(machine_options, "gpus_here", lambda: gpus)
    monkeypatch.setattr(doctor, "probe_torch", lambda: torch)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", *words])
    found: dict[str, list[dict[str, str]]] = {}
    for row in json.loads(capsys.readouterr().out):
        found.setdefault(row["name"], []).append(row)
    assert isinstance(ended.value.code, int)
    return ended.value.code, found


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch = {"cuda": "12.8", "seen": 2, "nccl": "2.27.5"}
    code, found = findings(monkeypatch, capsys, (MODERN, OLD), torch)
    assert code == 0
    (modern,), (old,) = found["GPU 0"], found["GPU 1"]
    assert modern["found"].startswith("NVIDIA H100, 84.8GB free of 85.9GB, bf16, flash")
    assert "Tesla V100, 8.59GB free of 17.2GB, no bf16: precision='float32'" in old["found"]
    assert "--per-gpu" in modern["for"]
    assert found["CUDA"][0]["found"].endswith("CUDA 12.8: 2 of 2 devices seen")
    assert (found["NCCL"][0]["state"], found["NCCL"][0]["found"]) == ("ok", "2.27.5")


@pytest.mark.parametrize(
    ("torch", "lacking"),
    [
        ({"cuda": "13.0", "seen": 0, "nccl": ""}, {"CUDA", "NCCL"}),
        ({"cuda": "12.8", "seen": 2, "nccl": ""}, {"NCCL"}),
        ({"error": "libcuda.so: cannot open"}, {"CUDA", "NCCL"}),
    ],
)
def test_gpus_that_torch_cannot_use_are_missing(
    torch: dict[str, Any], lacking: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(monkeypatch, capsys, (MODERN, OLD), torch)
    assert code == 1
    assert {name for name, rows in found.items() if rows[0]["state"] == "missing"} == lacking


def test_a_machine_without_gpus_lacks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(monkeypatch, capsys, (), {})
    assert (code, found["CUDA"][0]["state"]) == (0, "absent")
    assert "NCCL" not in found


def test_what_a_study_takes_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny(tmp_path)
    path.write_text(path.read_text().replace("outputs=", "machine=H100, executions=(Execution(gpus=2),), outputs="))
    small = Gpu("0", "A tiny one", 1 << 30, 1 << 30, 8.0), Gpu("1", "A tiny one", 1 << 30, 1 << 30, 8.0)
    words = [str(path), "--workspace", str(tmp_path / "ws")]
    _, found = findings(monkeypatch, capsys, small, {"cuda": "12.8", "seen": 2, "nccl": "2"}, *words)
    lines = [row["found"] for row in found["tiny"]]
    assert re.fullmatch(r"tiny: .* GPU-seconds for 7 of 7 artifacts .*, about 0 s here on 2 GPUs", lines[0])
    assert lines[1].startswith("2 GPUs at a time: teacher")
    assert lines[2].startswith("memory of a device for teacher, at most: 1.6")
    assert [line.split()[5] for line in lines[2:5]] == ["teacher,", "logits,", "student,"]
    assert [row["state"] for row in found["tiny"]] == ["ok"] * 5 + ["absent"] * 3
    assert "on each of 2 devices, which has 1.07GB" in lines[5]
