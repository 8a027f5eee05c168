"""What the guides show is run, so that it cannot fall behind the code."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, create_trial

import pdstudy
from pdstudy.analysis.options import add_commands
from pdstudy.cli.arguments import Parser
from pdstudy.cli.main import command_parser
from pdstudy.plan.study_plan import checked_plan
from pdstudy.search import Search
from pdstudy.search.final import make_final_study
from pdstudy.search.search_file import load_search
from pdstudy.workspace.layout import Workspace
from tests.cli.own_material import write_teacher, write_texts
from tests.core.cli import call
from tests.core.guides import GUIDES, ROOT, Block, block, blocks
from tests.core.tiny import write_tiny
from tests.models.published import PUBLISHED

STUDIES, ANALYSIS, SEARCH = "studies/README.md", "analysis/README.md", "pdstudy/search/README.md"
SLURM, CORPUS, MODELS = "pdstudy/slurm/README.md", "pdstudy/corpus/README.md", "pdstudy/models/README.md"

HERE, CLUSTER = "tests/cli/test_guides.py", "tests/slurm/test_guide.py"
RUN_BY = {
    ("README.md", "make quickstart"): (HERE, "test_the_two_commands_are_made_of_pdstudy"),
    ("README.md", "def study"): (HERE, "test_the_study_of_the_readme_is_planned_and_runs"),
    ("README.md", "--with own-data"): (HERE, "test_own_text_and_own_teacher_by_the_readme"),
    ("README.md", "studies/scaling"): (HERE, "test_scaling_is_designed_and_planned"),
    ("README.md", "submit my_study"): (CLUSTER, "test_the_commands_of_the_guide"),
    (STUDIES, "import KD, LM"): (HERE, "test_the_grid_of_the_guide"),
    (STUDIES, "evaluate_downstream"): (HERE, "test_a_folder_is_evaluated_by_hand"),
    (STUDIES, "studies/paper"): (HERE, "test_the_papers_commands_are_planned_and_reported"),
    (ANALYSIS, "pdstudy analyse"): (HERE, "test_the_analyses_of_the_guide"),
    (ANALYSIS, "HOFFMANN"): (HERE, "test_the_python_of_the_analysis_guide"),
    (ANALYSIS, "import compare"): (HERE, "test_the_python_of_the_analysis_guide"),
    (ANALYSIS, "pdstudy.results"): (HERE, "test_the_commands_of_the_readme_on_a_small_study"),
    ("reports/README.md", "report quickstart"): (HERE, "test_a_page_is_made_anew_from_its_data"),
    ("reports/README.md", "--for paper"): (HERE, "test_a_page_becomes_a_paper"),
    (CORPUS, "texts/"): (HERE, "test_the_declarations_of_texts"),
    (CORPUS, "Mixture("): (HERE, "test_the_declarations_of_texts"),
    (CORPUS, "part = "): (HERE, "test_the_declarations_of_texts"),
    (CORPUS, "Corpus(sources=(Tokenised"): (HERE, "test_the_declarations_of_texts"),
    (CORPUS, "# tokenise.py"): ("tests/corpus/test_datatrove.py", "test_a_study_reads_what_datatrove_wrote"),
    (CORPUS, "# study.py"): ("tests/corpus/test_datatrove.py", "test_a_study_reads_what_datatrove_wrote"),
    (MODELS, "from_folder"): (HERE, "test_a_published_configuration_is_a_student"),
    (SLURM, "--workers 2"): (HERE, "test_the_commands_of_the_readme_on_a_small_study"),
    (SLURM, "torchrun"): ("tests/train/test_torchrun.py", "test_the_lines_of_the_guide_leave_what_the_worker_leaves"),
    (SLURM, "profile = "): (
        "tests/slurm/test_profiles.py", "test_the_example_of_the_guide_gives_gpus_to_all_that_compute"
    ),
    (SLURM, "--retry oom"): (CLUSTER, "test_the_commands_of_the_guide"),
    (SEARCH, "def search"): (HERE, "test_the_search_beside_the_quickstart_is_sound"),
    (SEARCH, "--workers 2"): (HERE, "test_the_searching_commands"),
    (SEARCH, "--slurm"): (HERE, "test_every_command_is_understood"),  # a driver that waits for a cluster
    (SEARCH, "optuna-dashboard"): (HERE, "test_every_command_is_understood"),  # fetches a package
}  # fmt: skip
"""Of each block of the guides the test that runs it, by a word that no other block of its guide has."""


def test_every_block_is_run_by_a_test() -> None:
    run = [block(guide, word) for guide, word in RUN_BY]
    assert [b for b in blocks() if b not in run] == []
    for path, name in set(RUN_BY.values()):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def commands() -> list[str]:
    """All command lines of pdstudy in blocks, and those in the table of the README."""
    table = re.findall(r"^\| `(pdstudy [^`]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    return table + [line for b in blocks() if b.kind == "sh" for line in b.lines if line.startswith("pdstudy ")]


def test_every_command_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    parser, analysis = command_parser(analyse=False), Parser(prog="pdstudy analyse")
    add_commands(analysis)
    for line in commands():
        words = shlex.split(line)[1:]
        (analysis.parse_args(words[1:]) if words[0] == "analyse" else parser.parse_args(words))
    assert len(commands()) > 40


def test_what_the_guides_link_to_exists_and_the_readme_is_short() -> None:
    for guide in GUIDES:
        text = (ROOT / guide).read_text()
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
        assert [link for link in links if not (ROOT / guide).parent.joinpath(link).exists()] == [], guide
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(found: Block, **names: Any) -> dict[str, Any]:
    exec(found.text, names)
    return names


def do(folder: Path, *lines: str) -> None:
    for line in lines:
        done = call(folder, *shlex.split(line)[1:])
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.integration
def test_the_two_commands_are_made_of_pdstudy(here: Path) -> None:
    said = subprocess.run(["make", "-n", "quickstart", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pdstudy run studies/quickstart.py\n" in said.stdout
    assert "pdstudy report studies/quickstart.py\n" in said.stdout


@pytest.mark.slow
def test_a_page_is_made_anew_from_its_data(here: Path) -> None:
    shutil.copytree(ROOT / "reports" / "quickstart", here / "reports" / "quickstart")
    do(here, block("reports/README.md", "report quickstart").lines[-1])
    assert list((here / "reports" / "quickstart" / "figures").glob("*learning-curves.png"))


def offline(text: str) -> str:
    return text.replace('Packaged(name="wikipedia-leads")', "StandardLibrary()").replace("Packaged", "StandardLibrary")


def test_the_study_of_the_readme_is_planned(here: Path) -> None:
    (here / "first.py").write_text(block("README.md", "def study").text)
    plan = checked_plan("first.py", None, Workspace(here / "workspace"))
    assert (len(plan.study.cells), len(plan.artifacts)) == (12, 15)


@pytest.mark.slow
def test_the_study_of_the_readme_is_planned_and_runs(here: Path) -> None:
    (here / "first.py").write_text(offline(block("README.md", "def study").text))
    do(here, "pdstudy plan first.py", "pdstudy run first.py --steps 3")


@pytest.mark.slow
def test_own_text_and_own_teacher_by_the_readme(here: Path) -> None:
    write_teacher(here / "teacher", write_texts(here / "text" / "mine.jsonl"))
    do(here, *block("README.md", "--with own-data").lines)


@pytest.mark.slow
def test_the_commands_of_the_readme_on_a_small_study(here: Path) -> None:
    """Those of its table, and of the guides, on a study of seconds, in the order of the pages."""
    from tests.search.test_local import SEARCH as LITTLE

    (here / "studies").mkdir()
    write_tiny(here, steps=6).rename(here / "studies" / "my_study.py")
    text = LITTLE.replace("import tiny", "import my_study as tiny").replace("10 * 256", "2 * 256")
    (here / "studies" / "my_search.py").write_text(text)
    write_points(here / "points.csv", "N", "D")
    own = block(SLURM, "--workers 2").lines
    table = [line for line in commands() if "|" not in line][:10]
    assert [line.split()[1] for line in table] == [
        "plan", "run", "status", "logs", "results", "report", "inspect", "search", "analyse", "doctor",
    ]  # fmt: skip
    do(here, *table[:2], *own, *table[2:])
    execute(block(ANALYSIS, "pdstudy.results"))
    assert len(list((here / "figures").glob("*.pdf"))) > 1
    assert (here / "reports" / "tiny" / "index.html").is_file()


def write_points(path: Path, n: str, d: str) -> None:
    """Runs of a law of Hoffmann's form on isoFLOP budgets, with noise."""
    rng = np.random.default_rng(0)
    rows = [f"{n},{d},flops,loss"]
    for budget in (1e18, 1e19, 1e20):
        for size in np.geomspace(2e7, 8e9, 7) * (budget / 1e19) ** 0.4:
            tokens = budget / (6 * size)
            loss = (1.8 + 480 * size**-0.35 + 2100 * tokens**-0.37) * np.exp(rng.normal(0, 2e-3))
            rows.append(f"{size:.6g},{tokens:.6g},{budget:g},{loss:.6f}")
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.slow
def test_the_analyses_of_the_guide(here: Path) -> None:
    write_points(here / "runs.csv", "params", "tokens")
    shutil.copytree(ROOT / "reports" / "quickstart", here / "reports" / "quickstart")
    do(here, *block(ANALYSIS, "pdstudy analyse").lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="figures as PGF take LaTeX")
def test_a_page_becomes_a_paper(here: Path) -> None:
    shutil.copytree(ROOT / "reports" / "quickstart", here / "reports" / "quickstart")
    lines = [line.replace("/tmp/paper", "paper") for line in block("reports/README.md", "--for paper").lines]
    do(here, *lines)
    assert (here / "paper" / "paper.tex").is_file()
    assert list((here / "paper" / "figures").glob("*.pgf"))


@pytest.mark.slow
def test_the_python_of_the_analysis_guide(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_points(here / "runs.csv", "params", "tokens")
    shutil.copytree(ROOT / "reports" / "quickstart", here / "reports" / "quickstart")
    execute(block(ANALYSIS, "HOFFMANN"))
    assert "alpha" in capsys.readouterr().out
    execute(block(ANALYSIS, "import compare"))
    for name in ("figures/law.pdf", "figures/gain.csv", "tables/gain.tex"):
        assert (here / name).is_file()


def test_the_grid_of_the_guide() -> None:
    grid = execute(block(STUDIES, "import KD, LM"))["grid"]
    assert [arm.labels for arm in grid.arms] == [
        {"loss": "LM", "lr": "0.008"}, {"loss": "KD", "lr": "0.004"}, {"loss": "KD", "lr": "0.008"},
    ]  # fmt: skip


@pytest.mark.slow
def test_a_folder_is_evaluated_by_hand(here: Path) -> None:
    pytest.importorskip("lm_eval")
    write_teacher(here / "model", write_texts(here / "a.jsonl", "[a-d]*.py"))
    with contextlib.suppress(KeyError):
        execute(Block("", "", block(STUDIES, "evaluate_downstream").text.replace("limit=300", "limit=2")))
    assert any((here / "model-tasks").iterdir())


@pytest.mark.slow
def test_the_papers_commands_are_planned_and_reported(here: Path) -> None:
    """`run` takes hours: it is planned here, and every arm's path is run by the small study above."""
    shutil.copytree(ROOT / "studies", here / "studies")
    for line in block(STUDIES, "studies/paper").lines:
        do(here, line.replace("pdstudy run", "pdstudy plan"))


@pytest.mark.slow
def test_scaling_is_designed_and_planned(here: Path) -> None:
    shutil.copytree(ROOT / "studies", here / "studies")
    design, *plans = block("README.md", "studies/scaling").lines
    do(here, f"{design} --draws 100", *plans)


@pytest.mark.integration
def test_the_scale_of_a_node_is_planned(here: Path) -> None:
    """In a folder without the teacher or the text."""
    shutil.copytree(ROOT / "studies" / "paper", here / "studies" / "paper")
    done = call(here, "plan", "studies/paper", "--scale", "node", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    absent = [w for w in plan["warnings"] if w.startswith("not here: ")]
    assert any("text/*.parquet" in w for w in absent)
    assert any("teachers/qwen3-8b" in w for w in absent)
    assert not [w for w in plan["warnings"] if "glm" in w]
    labels = " ".join(item["label"] for item in plan["items"])
    assert all(f"student={name}" in labels for name in ("100M", "200M", "460M"))
    assert 8 * 24 * 4.5 < plan["totals"]["device_hours_todo"] < 8 * 24 * 5.5, "the guide says five days"
    assert (plan["totals"]["done"], plan["account"]["teachers"]["trained"]) == (0, 1)


def test_the_declarations_of_texts(here: Path) -> None:
    names: dict[str, Any] = {name: getattr(pdstudy, name) for name in pdstudy.__all__}
    names |= {"web": pdstudy.LocalFiles(paths=("web/",)), "code": pdstudy.LocalFiles(paths=("code/",))}
    for found in blocks():
        if found.guide == CORPUS and not found.text.startswith("# "):
            exec(found.text, names)
    assert len(names["evaluations"]) == 3


def test_a_published_configuration_is_a_student(here: Path) -> None:
    (here / "Qwen3-8B").mkdir()
    config = {**PUBLISHED["Llama-3.1-8B"], "model_type": "qwen3"}
    (here / "Qwen3-8B" / "config.json").write_text(json.dumps(config))
    made = eval(block(MODELS, "from_folder").text, {"TransformersConfig": pdstudy.TransformersConfig})
    assert (made.model_type, made.vocab, dict(made.settings)["head_dim"]) == ("qwen3", 16_384, 32)


def test_the_search_beside_the_quickstart_is_sound(here: Path) -> None:
    shutil.copy(ROOT / "studies" / "quickstart.py", here)
    (here / "mine.py").write_text(block(SEARCH, "def search").text)
    search = load_search(str(here / "mine.py"))
    assert (search.name, search.trials) == ("mine", 20)
    assert len(make_final_study(search, [finished(search)]).cells) == 3 * 5


def finished(search: Search) -> FrozenTrial:
    params = {"objective/LM": 0.1, "objective/KL": 0.5, "optimiser.lr": 5e-3}
    trial = create_trial(value=1.0, params={}, distributions={}, user_attrs={"runs": ["a"]})
    trial.params = params
    return trial


@pytest.mark.slow
def test_the_searching_commands(here: Path) -> None:
    """On a search of seconds."""
    from tests.search.test_local import SEARCH as LITTLE

    (here / "studies").mkdir()
    write_tiny(here, steps=12).rename(here / "studies" / "tiny.py")
    text = LITTLE.replace("10 * 256", "6 * 256").replace("trials=4,", "trials=4, final=Final(best=1, seeds=(5,), "
        "controls={'LM': {'objective': LM()}}, evaluations=study.evaluations),")  # fmt: skip
    (here / "studies" / "search_mixture.py").write_text(text)
    do(here, *block(SEARCH, "--workers 2").lines)
