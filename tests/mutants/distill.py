"""Slips in distill."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/distill/store/codec.py",
        "np.maximum(block.columns[TAIL, dropping], 1 - inside)",
        "block.columns[TAIL, dropping]",
        "tests/distill/test_codec.py tests/distill/test_store.py tests/distill/test_coded_store.py",
    ),
    Slip(
        "pdstudy/distill/store/quantised.py",
        "named = min(MOST_NUMBERED, len(ids) // 64, int((counts > 1).sum()))",
        "named = int((counts > 1).sum())",
        "tests/distill/test_coded_store.py",
    ),
    Slip(
        "pdstudy/distill/store/quantised.py",
        "(depth - BEND) * COARSE",
        "(depth - BEND) * FINE",
        "tests/distill/test_coded_store.py",
    ),
    Slip(
        "pdstudy/distill/store/shard.py",
        "* 64).clip(0, ENTROPY_BINS - 1)",
        "* 64).clip(0, ENTROPY_BINS - 2)",
        "tests/distill",
    ),
    Slip(
        "pdstudy/distill/store/shard.py",
        'if error["mean"] > MOST_ADDED_KL:',
        'if error["largest"] > MOST_ADDED_KL:',
        "tests/distill/test_coded_store.py",
    ),
    Slip(
        "pdstudy/distill/store/store.py",
        "(np.cumsum(counts) - counts) / counts.sum()",
        "np.cumsum(counts) / counts.sum()",
        "tests/distill",
    ),
    Slip(
        "pdstudy/distill/store/store.py",
        'counts += shard.sidecar["entropy_counts"]\n                continue',
        'counts += shard.sidecar["entropy_counts"]',
        "tests/distill",
    ),
    Slip("pdstudy/distill/store/store.py", "if part == range(shard.first, shard.stop):", "if True:", "tests/distill"),
    Slip(
        "pdstudy/distill/store/store.py",
        "shard.check_tokens(self._stream, self._context)",
        "pass",
        "tests/distill/test_store.py",
    ),
    Slip(
        "pdstudy/distill/store/store.py",
        "if isinstance(truncation, TopPK) and not self._coverage.taus else None",
        "if isinstance(truncation, TopPK) else None",
        "tests/distill",
    ),
    Slip("pdstudy/distill/teacher/capture.py", "seed=sequence", "seed=i", "tests/distill"),
    Slip("pdstudy/distill/teacher/capture.py", "(at // size + 1) * size", "at + size", "tests/distill/test_capture.py"),
    Slip(
        "pdstudy/distill/teacher/load.py",
        "if longest < context:",
        "if longest <= context:",
        "tests/distill/test_capture.py tests/distill/test_weights.py",
    ),
    Slip(
        "pdstudy/distill/teacher/statistics.py",
        "logits[part, :vocab].float()",
        "logits[part].float()",
        "tests/distill/test_capture.py",
    ),
    Slip(
        "pdstudy/distill/teacher/statistics.py",
        "if coverage.exponent != 1 else torch.ones_like(weights)",
        "if True else torch.ones_like(weights)",
        "tests/distill",
    ),
    Slip(
        "pdstudy/distill/truncate.py",
        "(mass.cumsum(1) - mass) < truncation.p",
        "mass.cumsum(1) <= truncation.p",
        "tests/distill/test_truncation.py",
    ),
    Slip(
        "pdstudy/distill/truncate.py",
        "tied = values[:, k] == values[:, k - 1]",
        "tied = torch.zeros_like(values[:, k], dtype=torch.bool)",
        "tests/distill/test_truncation.py",
    ),
    Slip("pdstudy/distill/loss/targets.py", "return tau * tau", "return tau", "tests/distill"),
    Slip(
        "pdstudy/distill/loss/targets.py",
        "clamp(temperature.low, temperature.high)",
        "clamp(max=temperature.high)",
        "tests/distill",
    ),
    Slip("pdstudy/distill/loss/token_weights.py", ">= rule.share", "> rule.share", "tests/distill"),
    Slip(
        "pdstudy/distill/loss/token_weights.py",
        "1 - signal.log_probs.amax(1)",
        "1 - signal.log_probs.amin(1)",
        "tests/distill",
    ),
    Slip(
        "pdstudy/distill/loss/bucketed.py",
        "adapted -= adapted.mean(1, keepdim=True)",
        "pass",
        "tests/distill/test_fused_loss.py tests/distill/test_objectives.py",
    ),
    Slip(
        "pdstudy/distill/loss/divergences.py",
        "/ entries.scored.sum(1)",
        "/ entries.used.sum(1)",
        "tests/distill/test_objectives.py",
    ),
    Slip("pdstudy/distill/loss/fused.py", "g.mul_(factor)", "g", "tests/distill/test_fused_loss.py"),
    Slip("pdstudy/distill/loss/fused.py", "valid * self.alpha", "valid", "tests/distill/test_fused_loss.py"),
    Slip(
        "pdstudy/distill/micro_batch.py",
        "begins[:, 1:] = documents[:, 1:] != documents[:, :-1]",
        "pass",
        "tests/train/test_loader.py",
    ),
    Slip(
        "pdstudy/distill/loss/linear.py",
        "lm_share + 2 * z_share * normaliser",
        "lm_share + z_share * normaliser",
        "tests/distill/test_z_and_skew.py",
    ),
    Slip(
        "pdstudy/distill/loss/fused.py",
        "valid * (self.z_loss * scale)",
        "valid * self.z_loss",
        "tests/distill/test_z_and_skew.py",
    ),
    Slip(
        "pdstudy/distill/teacher/live.py",
        "soft_capped((self.states[part] @ self.head.t()).float(), self.cap)",
        "(self.states[part] @ self.head.t()).float()",
        "tests/distill/test_teacher_families.py",
    ),
)
