"""The notebook of studies/: run from its first cell to its last it shows tables, figures and a fit; committed executed.

python -m tests.analysis.test_executed_notebook      execute it anew and write it back
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "studies" / "notebook.ipynb"

CELL_SECONDS = 300
"""A cell may take this long; the longest trains sixteen students and a teacher of thousands of parameters."""


def execute(path: Path, folder: Path) -> Any:
    """The notebook, executed with `folder` as its working directory."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def shown(notebook: Any) -> list[tuple[str, dict[str, str]]]:
    """Source and output by MIME type of each cell of code that shows something."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source, dict(out.data)) for cell in cells for out in cell.outputs if "data" in out]


def check(notebook: Any) -> None:
    found = shown(notebook)
    html = [data["text/html"] for _, data in found if "text/html" in data]
    assert sum("<svg" in each for each in html) >= 3, "curves, the study's figures and the law show themselves"
    assert any("<table" in each for each in html)
    assert any("test_loss" in each for each in html), "the table of runs"
    assert not re.search(r"Traceback|/(tmp|home|root)/", "".join(html))


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'pdstudy[notebook]'")
    check(execute(NOTEBOOK, tmp_path))


def test_what_is_committed_was_executed() -> None:
    """Its own text, without the packages of notebooks: every cell of code in order, none with an error."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert NOTEBOOK.stat().st_size < 400_000


if __name__ == "__main__":
    import tempfile

    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        made = execute(NOTEBOOK, Path(folder))
    check(made)
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # times
        for out in cell.get("outputs", ()):
            if "text/html" in out.get("data", {}):
                out.data = {"text/html": out.data["text/html"]}
    nbformat.write(made, NOTEBOOK)
