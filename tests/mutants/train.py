"""Slips in train and models."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/train/weight_update.py",
        "RATE_FACTOR: 1 / width_multiplier",
        "RATE_FACTOR: 1.0",
        "tests/models/test_mup.py",
    ),
    Slip(
        "pdstudy/train/weight_update.py",
        "settings.weight_decay * width_multiplier",
        "settings.weight_decay",
        "tests/models/test_mup.py",
    ),
    Slip("pdstudy/models/build_model.py", "width_multiplier(student) ** -0.5", "1.0", "tests/models/test_mup.py"),
    Slip(
        "pdstudy/config/model.py",
        'found["residual_multiplier"] = mup.base_layers / self.layers',
        'found["residual_multiplier"] = 1.0',
        "tests/models/test_mup.py",
    ),
    Slip(
        "pdstudy/train/weight_update.py",
        'if p.ndim < 2], "weight_decay": 0.0}',
        'if p.ndim < 2], "weight_decay": settings.weight_decay}',
        "tests/train/test_plain_loop.py",
    ),
    Slip(
        "pdstudy/train/loop.py",
        "set_learning_rate(optimiser, rate)\n                optimiser.step()",
        "optimiser.step()\n                set_learning_rate(optimiser, rate)",
        "tests/train/test_plain_loop.py",
    ),
    Slip(
        "pdstudy/train/loop.py", "divisor=valid", "divisor=int((batch.targets >= 0).sum())", "tests/train/test_ranks.py"
    ),
    Slip("pdstudy/train/loop.py", "step + 1 >= until", "step >= until", "tests/plan/test_replay.py"),
    Slip(
        "pdstudy/train/recorder.py",
        " or step == self._num_steps",
        "",
        "tests/train/test_metrics.py tests/train/test_train.py",
    ),
    Slip(
        "pdstudy/train/recorder.py",
        'table[:, names.index("grad_norm")] = norms',
        "pass",
        "tests/train/test_metrics.py",
    ),
    Slip("pdstudy/train/recorder.py", "peak * ranks.size", "peak", "tests/train/test_metrics.py"),
    Slip(
        "pdstudy/train/trainer.py",
        'self.clock.seconds.update(trainer["seconds"])',
        "pass",
        "tests/train/test_train.py tests/train/test_checkpoint.py",
    ),
    Slip(
        "pdstudy/train/trainer.py",
        "60 * self.job.placement.save_minutes",
        "self.job.placement.save_minutes",
        "tests/train/test_checkpoint.py",
    ),
    Slip(
        "pdstudy/train/trainer.py",
        "step * per_step // every > (step - 1) * per_step // every",
        "step * per_step % every == 0",
        "tests/train/test_train.py",
    ),
    Slip(
        "pdstudy/train/trainer.py",
        "min(step, self.run.num_steps - 1)",
        "step",
        "tests/train/test_train.py tests/train/test_checkpoint.py",
    ),
    Slip(
        "pdstudy/train/trainer.py",
        "limit=min([self.online.first_step, *exports])",
        'limit=min(exports, default=float("inf"))',
        "tests/plan/test_replay.py",
    ),
    Slip(
        "pdstudy/train/starting_point.py",
        "step_of(path) <= min(shared, limit)",
        "step_of(path) < min(shared, limit)",
        "tests/train/test_branch.py",
    ),
    Slip(
        "pdstudy/train/starting_point.py",
        '(r for r in evals if r["eval"] in wanted)',
        "evals",
        "tests/train/test_branch.py",
    ),
    Slip(
        "pdstudy/train/result.py",
        "rows[-max(1, len(rows) // 20) :]",
        "rows[-20:]",
        "tests/train/test_train.py tests/plan/test_live_plan.py tests/train/test_metrics.py",
    ),
    Slip(
        "pdstudy/train/online_logits.py",
        "draw_uniforms(sequence, len(targets), coverage)",
        "draw_uniforms(row, len(targets), coverage)",
        "tests/train/test_online_logits.py",
    ),
    Slip("pdstudy/models/student_config.py", "rms_norm_eps=student.norm_eps,", "", "tests/train/test_model.py"),
    Slip("pdstudy/models/student_config.py", '"pad_token_id": None', "", "tests/models/test_self_test.py"),
    Slip("pdstudy/models/build_model.py", "(balance * valid)", "balance", "tests/models/test_experts.py"),
    Slip("pdstudy/models/experts.py", "chosen.mean((0, 2))", "chosen.mean((0, 1, 2))", "tests/models/test_experts.py"),
    Slip("pdstudy/distill/head.py", "states * scale", "states", "tests/models/test_head.py"),
    Slip(
        "pdstudy/models/attention.py",
        "and_masks(mask_function, packed_sequence_mask_function(documents))",
        "packed_sequence_mask_function(documents)",
        "tests/models/test_self_test.py",
    ),
    Slip(
        "pdstudy/models/export.py",
        "shutil.rmtree(folder, ignore_errors=True)\n    os.replace",
        "os.replace",
        "tests/train/test_train.py tests/train/test_checkpoint.py tests/train/test_model.py",
    ),
)
