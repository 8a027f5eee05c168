"""Slips in evaluate."""

from __future__ import annotations

from tests.mutants.slip import Slip

SLIPS = (
    Slip(
        "pdstudy/evaluate/metrics.py",
        "(confidence * BINS).long().clamp(0, BINS - 1)",
        "(confidence * BINS).long()",
        "tests/train/test_scores.py",
    ),
    Slip(
        "pdstudy/evaluate/metrics.py",
        "math.exp(-sum(best) / 2)",
        "math.exp(sum(best) / 2)",
        "tests/train/test_scores.py",
    ),
    Slip(
        "pdstudy/evaluate/metrics.py",
        "zip(halves, best[::-1], strict=True)",
        "zip(halves, best, strict=True)",
        "tests/train/test_scores.py",
    ),
    Slip(
        "pdstudy/evaluate/heldout.py",
        "batch.targets[part >= text.count] = IGNORED",
        "pass",
        "tests/train/test_survival.py -k held_out_losses",
    ),
    Slip(
        "pdstudy/evaluate/probes.py",
        "teacher[start : start + size, : self._vocab]",
        "teacher[start : start + size]",
        "tests/train/test_probes.py",
    ),
    Slip(
        "pdstudy/evaluate/gradient_angles.py",
        "(model.get_input_embeddings(), model.get_output_embeddings())",
        "(model.get_input_embeddings(),)",
        "tests/train/test_angles.py",
    ),
    Slip(
        "pdstudy/evaluate/lm_eval_run.py",
        'first.setdefault(item["part"], item["filter"])',
        'first[item["part"]] = item["filter"]',
        "tests/evaluate/test_downstream.py",
    ),
    Slip(
        "pdstudy/evaluate/heldout_data.py",
        "if part.stop + 1 > length:",
        "if part.stop > length:",
        "tests/train/test_train.py tests/train/test_scores.py",
    ),
)
