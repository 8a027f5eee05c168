"""Slips in config and core."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/config/alpha.py",
        "% 1 < self.on else self.low",
        "% 1 <= self.on else self.low",
        "tests/distill/test_alpha.py",
    ),
    Slip(
        "pdstudy/config/alpha.py",
        "return mix.first == mix.last == 0",
        "return mix.last == 0",
        "tests/core/test_normal.py",
    ),
    Slip(
        "pdstudy/config/optimizer.py",
        "elif self.warmup_tokens + self.decay_tokens > total:",
        "elif self.warmup_tokens + self.decay_tokens >= total:",
        "tests/study/test_refusals.py",
    ),
    Slip(
        "pdstudy/config/trajectory.py",
        "step = math.floor(start + 0.5)",
        "step = math.ceil(start)",
        "tests/train/test_branch.py tests/plan/test_branches.py",
    ),
    Slip(
        "pdstudy/config/normal_form.py",
        "None if start.step is None else start.tokens",
        "start.tokens",
        "tests/plan/test_branches.py tests/plan/test_finetuning_plan.py tests/core/test_normal.py",
    ),
    Slip(
        "pdstudy/config/logits.py",
        "need.draws <= self.draws and need.exponent == self.exponent",
        "need.draws <= self.draws",
        "tests/distill/test_store.py tests/distill/test_draws_and_tails.py",
    ),
    Slip(
        "pdstudy/config/data.py",
        "if self.split != other.split:",
        "if False:",
        "tests/plan/test_branches.py tests/core/test_normal.py",
    ),
    Slip(
        "pdstudy/config/run.py",
        "self.num_steps * self.text_sequences_per_step * self.view.context / self.data.tokens",
        "self.num_tokens / self.data.tokens",
        "tests/plan/test_finetuning_plan.py tests/plan/test_replay.py tests/core/test_normal.py",
    ),
    Slip(
        "pdstudy/config/downstream.py",
        "if tokens < run.num_tokens] + [None]",
        "if tokens <= run.num_tokens] + [None]",
        "tests/plan/test_branches.py tests/plan/test_finetuning_plan.py",
    ),
    Slip(
        "pdstudy/config/instructions.py",
        "round(self.share * sequences_per_step)",
        "int(self.share * sequences_per_step)",
        "tests/train/test_instructions.py tests/core/test_normal.py",
    ),
    Slip(
        "pdstudy/config/model_folder.py",
        "longest < view.context",
        "longest <= view.context",
        "tests/plan/test_preflight.py",
    ),
    Slip(
        "pdstudy/core/files.py",
        "sorted(_remembered_sha256(*s) for s in stamps)",
        "_remembered_sha256(*s) for s in stamps",
        "tests/core/test_normal.py tests/corpus/test_sources.py tests/core/test_files.py",
    ),
    Slip(
        "pdstudy/core/files.py",
        'if row["step"] <= keep_up_to_step',
        'if row["step"] < keep_up_to_step',
        "tests/core/test_files.py",
    ),
    Slip(
        "pdstudy/core/format.py",
        "if whole < HOUR:",
        "if whole <= HOUR:",
        "tests/plan/test_make_plan.py tests/cli/test_progress.py",
    ),
    Slip(
        "pdstudy/config/optimizer.py",
        "self.final + (1 - self.final) * decayed(self.shape, (tokens - start) / self.decay_tokens)",
        "max(self.final, decayed(self.shape, (tokens - start) / self.decay_tokens))",
        "tests/train/test_train.py",
    ),
    Slip(
        "pdstudy/config/model_folder.py",
        "[weights.name] if weights.is_file() else shards",
        "shards",
        "tests/plan/test_known_models.py",
    ),
)
