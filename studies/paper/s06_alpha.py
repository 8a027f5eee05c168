"""S6, Tables 4 and 10: how much of the loss should be the teacher's?"""

from paper.scales import SCALES

from pdstudy import BesidePaper, Compare, Cost, Curves, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    return s.study(
        "s06",
        title="S6: static alpha (Tables 4 and 10)",
        about="The share of distillation, constant over training. Alpha 0 is the LM run, 1 is vanilla distillation.",
        grid=axis("alpha", {f"{a:g}": s.kd(alpha=a) for a in s.alphas}, field="objective"),
        baseline={"alpha": "0"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            Compare(against="0.9", title="Against the paper's best alpha"),
            BesidePaper(
                axis="alpha", table="10", pairs=tuple((f"{a:g}", "1.0" if a == 1 else f"{a:g}") for a in s.alphas)
            ),
            Curves(lines="alpha"),
            Cost(),
        ),
    )
