"""The guide's commands on a cluster, over a scheduler of a few lines, in the order in which they stand."""

from __future__ import annotations

import shlex

import pytest

from pdstudy.cli.main import main
from pdstudy.workspace.layout import Workspace
from tests.core.guides import block
from tests.slurm.small_slurm import Slurm


@pytest.mark.integration
@pytest.mark.parametrize(("guide", "word"), [("README.md", "submit my_study"), ("pdstudy/slurm/README.md", "--retry")])
def test_the_commands_of_the_guide(
    guide: str, word: str, workspace: Workspace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --watch and -f, which go on until the study ends: it does not, as nothing runs a job here."""
    for line in block(guide, word).lines:
        words = shlex.split(line.replace("my_study", "grid.py").replace(" --watch", "").replace(" -f", ""))[1:]
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0, (line, capsys.readouterr().err)
    assert "squeue" not in capsys.readouterr().err
