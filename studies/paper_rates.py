"""Which peak learning rates suit the students of a scale of the paper's studies: LM, vanilla distillation and PD*?

Each loss under the schedule that the studies give it, at a quarter of the short budget. The scale's `rates` should
come from here: an arm at another arm's rate is compared with a handicap.
"""

import dataclasses

from paper.scales import SCALES

from pdstudy import LM, Cost, Study, Sweep, axis

STEP = 2**0.5
"""Ratio of neighbouring rates (no unit)."""


def study(scale: str = "small") -> Study:
    """Scales: those of paper/scales.py."""
    s = SCALES[scale]
    quarter = s.steps // 4
    wsd = dataclasses.replace(s.wsd, decay_tokens=s.wsd.decay_tokens // 4 // s.tokens_per_step * s.tokens_per_step)
    losses: dict[str, dict[str, object]] = {
        "LM": {"objective": LM(), "schedule": s.cosine},
        "KD": {"objective": s.kd(), "schedule": s.cosine},
        "PD*": {"objective": s.star, "schedule": wsd},
    }
    rates = tuple(float(f"{s.optimiser.lr * STEP**power:.3g}") for power in range(-3, 3))
    return Study(
        name=f"{s.name}-rates",
        title="Learning rates by student and loss",
        about="Final validation loss against the peak learning rate, at a quarter of the short budget.",
        base=s.run(steps=quarter, data=dataclasses.replace(s.data, tokens=quarter * s.tokens_per_step)),
        grid=axis("student", s.students) * axis("loss", losses) * axis("lr", rates, field="optimiser.lr"),
        seeds=s.seeds[:1],
        evaluations=s.evaluations[:2],
        outputs=(Sweep(x="lr", lines="loss", panels="student"), Cost()),
        machine=s.machine,
        placement=s.placement,
        elsewhere=s.elsewhere,
    )
