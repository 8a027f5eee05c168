"""Slips in plan, study and workspace."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip("pdstudy/plan/replay.py", "if step <= self.first", "if step < self.first", "tests/plan/test_replay.py"),
    Slip(
        "pdstudy/plan/replay.py",
        "-(-(part.stop - begin) // count)",
        "(part.stop - begin) // count",
        "tests/plan/test_replay.py",
    ),
    Slip(
        "pdstudy/plan/cost.py",
        "min(run.num_steps - 1, before // every)",
        "run.num_tokens // every",
        "tests/plan/test_cost.py tests/plan/test_make_plan.py",
    ),
    Slip(
        "pdstudy/plan/cost.py",
        "run.num_tokens if run.is_live else min(run.num_tokens, run.data.tokens)",
        "run.num_tokens",
        "tests/plan/test_paper_study.py -k stored_pass",
    ),
    Slip(
        "pdstudy/plan/store_needs.py",
        "if all(coverage.admits(wanted) for wanted in coverages):",
        "if any(coverage.admits(wanted) for wanted in coverages):",
        "tests/plan/test_make_plan.py",
    ),
    Slip(
        "pdstudy/plan/branches.py",
        "or left or step > shared_steps",
        "or step > shared_steps",
        "tests/plan/test_branches.py",
    ),
    Slip(
        "pdstudy/plan/preflight.py",
        "if tokens is not None and part.stop >= tokens:",
        "if tokens is not None and part.stop > tokens:",
        "tests/plan/test_make_plan.py tests/study/test_roles.py tests/plan/test_preflight.py",
    ),
    Slip(
        "pdstudy/plan/artifact_state.py",
        '_THERE = ("done", "evaluate", "again")',
        '_THERE = ("done",)',
        "tests/plan/test_done.py tests/cli/test_many_artifacts.py",
    ),
    Slip(
        "pdstudy/plan/account.py",
        "training_flops(each.run) - each.saved - live",
        "training_flops(each.run) - live",
        "tests/plan/test_paper_study.py",
    ),
    Slip(
        "pdstudy/study/validation.py",
        "if share_of_runs < share)",
        "if share_of_runs <= share)",
        "tests/plan/test_finetuning_plan.py",
    ),
    Slip(
        "pdstudy/study/collection.py",
        "elsewhere=any(study.elsewhere for study in studies)",
        "elsewhere=all(study.elsewhere for study in studies)",
        "tests/plan/test_paper_study.py tests/study/test_study.py",
    ),
    Slip(
        "pdstudy/study/study.py",
        "return name == pattern or fnmatch(name, pattern)",
        "return fnmatch(name, pattern)",
        "tests/study/test_study.py",
    ),
    Slip(
        "pdstudy/workspace/store_index.py",
        "max(stop, out[-1].stop)",
        "stop",
        "tests/plan/test_branches.py tests/distill/test_store_inspection.py",
    ),
    Slip(
        "pdstudy/workspace/run_dir.py",
        'self.guard()\n        write_json(self.path / "status.json"',
        'write_json(self.path / "status.json"',
        "tests/slurm/test_job_main.py tests/train/test_checkpoint.py tests/workspace/test_run_dir.py",
    ),
    Slip(
        "pdstudy/plan/known_models.py",
        "model.known_as is not None or holds(declared, model)",
        "model.known_as is not None",
        "tests/plan/test_known_models.py",
    ),
)
