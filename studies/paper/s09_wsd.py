"""S9, Table 5, third part: alpha and the learning rate moving together."""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, OnData, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    wsd_alpha = s.kd(alpha=s.alpha_max, mix=s.alpha_wsd)
    wsd_beta = s.kd(alpha=s.alpha_max, mix=OnData(shape=s.alpha_wsd))
    arms = {
        "0-α + Cos-LR": {"objective": LM(), "schedule": s.cosine},
        "0-α + WSD-LR": {"objective": LM(), "schedule": s.wsd},
        "1-α + WSD-LR": {"objective": s.kd(), "schedule": s.wsd},
        "WSD-α + Cos-LR": {"objective": wsd_alpha, "schedule": s.cosine},
        "WSD-β + WSD-LR": {"objective": wsd_beta, "schedule": s.wsd},
        "WSD-α + WSD-LR": {"objective": wsd_alpha, "schedule": s.wsd},
    }
    pairs = (("0-α + Cos-LR", "LLM-LM"), *((name, name) for name in arms if name != "0-α + Cos-LR"))
    return s.study(
        "s09",
        title="S9: alpha and learning rate together (Table 5)",
        about="Warm-up, stable, decay for alpha (WSD-α), for the share of text (WSD-β), for the learning rate. The "
        "matched control of a WSD-LR row is 0-α + WSD-LR; the paper compares all with 0-α + Cos-LR.",
        grid=axis("arm", arms),
        baseline={"arm": "0-α + WSD-LR"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            Compare(against="WSD-α + WSD-LR", title="Against the paper's best pair"),
            BesidePaper(axis="arm", table="5", pairs=pairs),
            Curves(lines="arm"),
            Cost(),
        ),
    )
