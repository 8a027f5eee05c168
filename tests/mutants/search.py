"""Slips in search."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/search/strategy.py",
        "max(1, round(self.keep * len(ranked)))",
        "max(1, int(self.keep * len(ranked)))",
        "tests/search/test_search.py tests/search/test_limits.py",
    ),
    Slip(
        "pdstudy/search/search.py",
        "_form(self.objectives), self.seeds, rungs,",
        "_form(self.objectives), rungs,",
        "tests/search/test_search.py tests/search/test_reuse.py",
    ),
    Slip(
        "pdstudy/search/trials.py",
        'trials = [t for t in self.study.get_trials(deepcopy=False) if not t.user_attrs.get("reused")]',
        "trials = self.study.get_trials(deepcopy=False)",
        "tests/search/test_reuse.py",
    ),
    Slip(
        "pdstudy/search/trials.py",
        "if t.number != active.number and tokens in t.intermediate_values",
        "if tokens in t.intermediate_values",
        "tests/search/test_search.py tests/search/test_limits.py",
    ),
    Slip(
        "pdstudy/search/trial_results.py",
        "for run, row in zip(runs, rows, strict=True)) / len(runs)",
        "for run, row in zip(runs, rows, strict=True))",
        "tests/search/test_limits.py",
    ),
    Slip(
        "pdstudy/search/trial_results.py",
        '[r for r in result["evals"] if r["eval"] == fingerprint(search.validation)]',
        'result["evals"]',
        "tests/search/test_limits.py",
    ),
    Slip("pdstudy/search/cost.py", ' + seconds.get("save", 0.0)', "", "tests/search/test_limits.py"),
    Slip(
        "pdstudy/search/storage.py",
        "self._seeded(trial.number, zlib.crc32(name.encode()))",
        "self._seeded(trial.number)",
        "tests/search/test_search.py tests/search/test_drivers.py tests/analysis/test_search_report.py",
    ),
    Slip(
        "pdstudy/search/space.py",
        "(value - self.low) % self.step == 0",
        "value % self.step == 0",
        "tests/search/test_reuse.py",
    ),
    Slip(
        "pdstudy/search/objectives.py",
        'row["loss"] - row["recalibrated"]',
        'row["recalibrated"] - row["loss"]',
        "tests/search/test_limits.py",
    ),
    Slip(
        "pdstudy/search/warm_start.py",
        "if run.seed == search.seeds[0]:",
        "if run.seed in search.seeds:",
        "tests/search/test_reuse.py",
    ),
    Slip(
        "pdstudy/search/slurm_driver.py",
        "self.request = dataclasses.replace(self.request, retry=())  #",
        "pass  #",
        "tests/search/test_drivers.py",
    ),
)
