"""Executions: how rules are laid over each other, what files may say, and that every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdstudy.config.model import Shape
from pdstudy.config.placement import Execution, misfit, resolve, warning_exceeds_limit
from pdstudy.config.run import KD, LM, Pretrained
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import make_plan
from pdstudy.slurm.job import make_jobs
from pdstudy.slurm.profiles import load_profile
from pdstudy.study.grid import axis
from pdstudy.workspace.layout import Workspace
from tests.core.guides import block
from tests.study.test_study import make_study


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The user's file and the project's, of a user whose home and project are empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "pdstudy").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home" / "pdstudy" / "pdstudy.toml", tmp_path / "project" / "pdstudy.toml"


def test_later_rules_win_field_by_field(site: tuple[Path, Path]) -> None:
    user, project = site
    user.write_text('profile = "jean"\n[profiles.jean]\npartition = "cpu"\naccount = "me"\n')
    project.write_text(
        '[profiles.jean]\npartition = "gpu"\ngpus = 4\n[profiles.jean.student]\nminutes = 600\n'
        "[[profiles.jean.sizes]]\nparameters = 1e9\nnodes = 2\n"
    )
    profile = load_profile(None, ["student.memory_gb=32", "qos=long"])
    rules = profile.rules((Execution(stage="student", minutes=90, cpus=3),))
    small, large = resolve(rules, "student", 1e6), resolve(rules, "student", 2e9)
    assert (small.partition, small.account, small.qos) == ("gpu", "me", "long")
    assert (small.nodes, large.nodes) == (1, 2)
    assert (large.gpus, large.tasks_per_node, large.ranks) == (4, 4, 8)
    assert (small.minutes, small.cpus, small.memory_gb) == (90, 3, 32)
    # What training asks for, the other stages do not get by accident.
    assert resolve(rules, "corpus", 0).gpus == 0
    logits = resolve(rules, "logits", 2e9)
    assert (logits.gpus, logits.nodes, logits.tasks_per_node, logits.minutes) == (1, 1, 1, 60)


def test_without_any_file_there_are_defaults(site: tuple[Path, Path]) -> None:
    assert load_profile(None).rules(()) == ()
    assert resolve((), "student", 0).minutes == 60


def test_all_problems_are_told_with_key_and_file(site: tuple[Path, Path]) -> None:
    user, project = site
    user.write_text("[profiles.default]\nnodes = 0\nminuts = 3\n")
    project.write_text(
        '[profiles.default.student]\ngpus = "two"\n[profiles.default.logits]\nnodes = 4\n[profile.x]\na = 1\n'
    )
    with pytest.raises(ConfigError) as told:
        load_profile(None, ["studnt.gpus=1", "gpus=-1"])
    text = str(told.value)
    for expected in (
        f"{user}: profiles.default.nodes: found 0; allowed: above 0",
        "profiles.default.minuts: found 3; allowed: no such key",
        "did you mean 'minutes'",
        "pdstudy.toml: profiles.default.student.gpus: found 'two'",
        "profiles.default.logits.nodes: found 4; allowed: 1: stage 'logits' is one process"
        "; for a teacher too large for one GPU set gpus",
        "--set: found 'studnt.gpus=1'",
        "did you mean 'student'",
        "--set.gpus: found -1; allowed: 0 or more",
    ):
        assert expected in text, text


def test_a_value_of_a_wrong_kind_hides_no_other_mistake(site: tuple[Path, Path]) -> None:
    site[1].write_text(
        '[profiles.default]\nminutes = 1.5\ngpus = -1\nsetup = "module load cuda"\n'
        '[[profiles.default.sizes]]\nstage = "studnt"\nparameters = "1e9"\nnodes = 0\n'
    )
    with pytest.raises(ConfigError) as told:
        load_profile(None, ["logits.nodes=2"])
    assert str(told.value).splitlines() == [
        "7 problems with executions:",
        "  pdstudy.toml: profiles.default.minutes: found 1.5; allowed: a whole number",
        "  pdstudy.toml: profiles.default.gpus: found -1; allowed: 0 or more",
        "  pdstudy.toml: profiles.default.setup: found 'module load cuda'; allowed: a list of texts",
        "  pdstudy.toml: profiles.default.sizes[0].stage: found 'studnt'; allowed: "
        "'corpus', 'teacher', 'logits', 'student', 'finetune', 'evaluate', 'report'",
        "  pdstudy.toml: profiles.default.sizes[0].parameters: found '1e9'; allowed: a finite number",
        "  pdstudy.toml: profiles.default.sizes[0].nodes: found 0; allowed: above 0",
        "  --set logits.nodes: found 2; allowed: 1: stage 'logits' is one process"
        "; for a teacher too large for one GPU set gpus",
    ]


def test_a_name_on_the_command_line_may_be_a_number(site: tuple[Path, Path]) -> None:
    (rule,) = load_profile(None, ["account=12345"]).command_line
    assert rule.account == "12345"


def test_a_container_is_one_line(site: tuple[Path, Path]) -> None:
    site[1].write_text('[profiles.default]\ncontainer = """apptainer exec\nimage.sif"""\n')
    with pytest.raises(ConfigError, match=r"profiles\.default\.container: .*one shell line"):
        load_profile(None)


def test_an_unknown_profile_names_those_that_exist(site: tuple[Path, Path]) -> None:
    site[1].write_text("[profiles.jean]\nnodes = 1\n")
    with pytest.raises(ConfigError, match=r"--profile: found 'jaen'; allowed: jean \(did you mean 'jean'\?\)"):
        load_profile("jaen")


def test_a_file_that_is_not_toml_is_named(site: tuple[Path, Path]) -> None:
    site[1].write_text("[profiles\n")
    with pytest.raises(ConfigError, match=r"pdstudy\.toml: the file: found "):
        load_profile(None)


@pytest.mark.parametrize(
    ("stage", "parameters", "gpus"),
    [
        ("corpus", 0, 0), ("report", 0, 0), ("teacher", 1e8, 1), ("teacher", 7e9, 8), ("logits", 1e8, 1),
        ("logits", 7e9, 1), ("student", 1e8, 1), ("student", 2e9, 8), ("finetune", 2e9, 8), ("evaluate", 2e9, 1),
    ],
)  # fmt: skip
def test_the_example_of_the_guide_gives_gpus_to_all_that_compute(
    site: tuple[Path, Path], stage: str, parameters: float, gpus: int
) -> None:
    site[1].write_text(block("pdstudy/slurm/README.md", "profile = ").text)
    execution = resolve(load_profile(None).rules(()), stage, parameters)
    assert execution.gpus == gpus
    assert not list(misfit(execution, sequences_per_step=256))
    assert execution.nodes == (4 if gpus == 8 else 1)


def test_a_capture_takes_the_size_of_its_teacher_from_the_plan_to_the_job(tmp_path: Path) -> None:
    """A folder's parameters are those that are declared until it is there; its captures met no `[[sizes]]` once."""
    vocab = 512
    eight = Shape(width=4096, layers=32, heads=32, query_groups=8, ffn=14_336, vocab=vocab, tied=False)
    kd = KD(teacher=Pretrained(path="teachers/eight", shape=eight))
    study = make_study(grid=axis("loss", {"LM": LM(), "KD": kd}, field="objective"), elsewhere=True)
    workspace = Workspace(tmp_path)
    rules = (Execution(), Execution(stage="logits", parameters=1_000_000_000, gpus=2))
    gpus = {job.stage: job.execution.gpus for job in make_jobs(make_plan(study, workspace), rules, workspace)}
    assert gpus["logits"] == 2
    assert gpus["student"] == 0  # far below the size


def test_an_execution_must_fit_its_run() -> None:
    def wrong(sequences: int, **said: int) -> list[str]:
        return [p.field for p in misfit(resolve([Execution(**said)], "student", 0), sequences_per_step=sequences)]  # type: ignore[arg-type]

    assert wrong(8, gpus=4, nodes=2) == []
    assert wrong(8, gpus=3) == ["nodes * tasks_per_node"]
    assert wrong(8, gpus=1, tasks_per_node=2) == ["tasks_per_node"]
    assert wrong(8, nodes=4, replicas=3) == ["replicas"]
    assert wrong(8, nodes=2, pack=2) == ["pack"]


def test_a_job_must_not_be_told_to_save_as_it_starts() -> None:
    (problem,) = warning_exceeds_limit(resolve([Execution(minutes=2)], "corpus", 0))
    assert str(problem) == "warning_seconds: found 120; allowed: below the 120 seconds of minutes=2"
    assert not list(warning_exceeds_limit(resolve([Execution(minutes=3)], "corpus", 0)))


def test_the_projects_profile_goes_before_the_users(site: tuple[Path, Path]) -> None:
    user, project = site
    user.write_text('profile = "mine"\n[profiles.mine]\nminutes = 7\n')
    assert load_profile(None).name == "mine"
    project.write_text('profile = "ours"\n[profiles.ours]\nminutes = 9\n')
    assert load_profile(None).name == "ours"
    assert load_profile("mine").name == "mine"
