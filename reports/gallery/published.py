"""Numbers printed by Peng et al. 2024 (Pre-training Distillation for Large Language Models), for the gallery's figures.

One run per row, no seeds: the paper has no intervals, so none are drawn.
"""

import pandas as pd

NAN = float("nan")

# Tables 1 and 8, figures 2 and 3: student 1.9B, teacher 9B, 100B tokens; gain of the average over the LM run in
# per cent.
BY_K = pd.DataFrame(
    {
        "k": [1, 3, 5, 10, 20, 50, 100],
        "difference": [1.9, 1.1, 2.6, 2.2, 1.1, 4.9, 1.6],
        "kept": [1.0, 2.5, 3.7, 6.4, 11.3, 22.1, 37.1],
        "low": NAN,
        "high": NAN,
    }
)
BY_P = pd.DataFrame(
    {
        "p": [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95],
        "difference": [2.0, 1.6, 2.2, 1.7, 1.3, 1.3, 1.6],
        "kept": [3.9, 7, 9.7, 15.6, 19.8, 26.6, 37],
        "low": NAN,
        "high": NAN,
    }
)

# Table 11, figure 4.
BY_SIZE = pd.DataFrame(
    {
        "student": [0.33e9, 0.67e9, 1.9e9, 3.8e9, 6.8e9] * 2,
        "teacher": ["GLM-4-9B"] * 5 + ["GLM-4-32B"] * 5,
        "difference": [-1.5, 0.7, 1.6, 6.8, 6.9, -2.8, 1.9, 0.6, 2.2, 5.5],
        "low": NAN,
        "high": NAN,
    }
)

# Table 12, figure 5: average accuracy at checkpoints of one run each, 10,000 steps being 83.9B tokens.
_STEPS = [10_000, 20_000, 30_000, 40_000, 50_000, 59_604]
_AVERAGES = {
    "1.9B LM": [37.7, 40.5, 42.4, 43.0, 44.2, 44.2],
    "1.9B KD": [38.2, 41.5, 43.3, 44.3, 45.5, 45.4],
    "3.8B LM": [42.6, 46.5, 48.4, 48.9, 50.3, 50.2],
    "3.8B KD": [43.9, 48.4, 50.9, 52.4, 53.5, 53.7],
}
BY_TOKENS = pd.DataFrame(
    [
        {"arm": arm, "seed": 0, "tokens": step * 2048 * 4096, "accuracy": value}
        for arm, values in _AVERAGES.items()
        for step, value in zip(_STEPS, values)
    ]
)

# Tables 11 and 13, figure 1: the 6.8B student.
TASKS = ["HellaSwag", "WinoGrande", "PIQA", "MMLU", "KBQA", "C3", "C-Eval", "GSM8k"]
_ARMS = {
    "LM": [63.0, 59.9, 75.5, 36.7, 4.6, 61.8, 37.1, 20.9],
    "PD": [66.0, 62.3, 76.3, 41.2, 5.7, 64.4, 43.0, 25.5],
    "PD*": [67.4, 65.1, 76.6, 44.3, 5.6, 67.1, 44.7, 27.4],
}
SUITE = pd.DataFrame([{"arm": arm, **dict(zip(TASKS, values))} for arm, values in _ARMS.items()])
