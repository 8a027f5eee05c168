"""The guide's pipeline of datatrove runs, and its study reads what it wrote.

`PDSTUDY_DATATROVE_PYTHON` may name a Python that has datatrove, where this one has not.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pdstudy.analysis.data.runs import load_runs
from pdstudy.corpus import open_corpus
from pdstudy.corpus.tokenizer import Encoder
from pdstudy.plan.record import read_record
from pdstudy.study.study_file import load_study
from pdstudy.workspace.layout import Workspace
from tests.core.cli import call
from tests.corpus.pretrained import write_tokenizer

PYTHON = os.environ.get("PDSTUDY_DATATROVE_PYTHON", sys.executable)
GUIDE = Path(__file__).parents[2] / "pdstudy/corpus/README.md"


def block(name: str) -> str:
    """A block of the guide by the comment in its first line."""
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", GUIDE.read_text(), re.S)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_a_study_reads_what_datatrove_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run([PYTHON, "-c", "import datatrove, orjson"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} has no datatrove: pip install 'pdstudy[datatrove]'")
    texts = [f"the cat number {n} sat on the mat, and the hat of {n * 7}" for n in range(400)]
    (tmp_path / "texts").mkdir()
    for part in range(2):
        rows = [{"text": text, "id": f"{part}-{n}"} for n, text in enumerate(texts[part::2])]
        (tmp_path / f"texts/{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_tokenizer(tmp_path / "tokenizer", texts)
    (tmp_path / "tokenise.py").write_text(block("tokenise.py"))
    done = subprocess.run([PYTHON, "tokenise.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "study.py").write_text(block("study.py"))
    ran = call(tmp_path, "run", "study.py", "--workers", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.chdir(tmp_path)
    study, workspace = load_study("study.py", None), Workspace(tmp_path / "workspace")
    corpus = open_corpus(workspace.corpus(study.base.corpus))
    found: Counter[tuple[int, ...]] = Counter()
    for split in ("train", "validation", "test"):
        stream = corpus.stream(split)  # type: ignore[arg-type]
        edges = [*stream.document_starts(0, len(stream)).tolist(), len(stream)]
        found.update(tuple(stream.tokens(a, b).tolist()) for a, b in itertools.pairwise(edges))
    assert found == Counter(tuple(ids.tolist()) for ids in Encoder(tmp_path / "tokenizer").encode(texts))
    runs = load_runs(workspace.root, read_record(workspace, "from-datatrove"))
    assert runs["test_loss"].notna().all()
