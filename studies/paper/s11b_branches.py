"""S11b: do the gains last over more tokens? One trunk and a decay for each budget (Haegele et al. 2024, 2405.18392)."""

import dataclasses

from paper.scales import SCALES

from pdstudy import LM, Compare, Cost, LossByTokens, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    # Alpha rises at once: a warm-up is a share of the run, which would tell the budgets apart from the beginning.
    mix = dataclasses.replace(s.alpha_wsd, warmup=0.0)
    losses = {"LM": LM(), "1-α": s.kd(), "WSD-α": s.kd(alpha=s.alpha_max, mix=mix)}

    def budget(steps: int) -> dict[str, object]:
        decay = round(mix.decay * steps) * s.tokens_per_step
        return {"steps": steps, "schedule": dataclasses.replace(s.wsd, decay_tokens=decay)}

    return s.study(
        "s11b",
        group="beyond the paper",
        base=s.run(steps=s.long_steps, data=s.data),
        title="S11b: tokens, by branches",
        about="Where S11 scores one cosine run on its way, here each budget has a decay of its own, of the learning "
        "rate and, in WSD-α, of alpha; what comes before is one run for all budgets. Losses are those of runs of just "
        "that length.",
        grid=axis("student", {name: s.students[name] for name in s.long_students})
        * axis("loss", losses, field="objective")
        * axis("tokens", {str(steps * s.tokens_per_step): budget(steps) for steps in s.branch_steps}),
        baseline={"loss": "LM"},
        outputs=(
            LossByTokens(lines="loss", panels="student"),
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            Cost(),
        ),
    )
