"""S7, Table 5, first part: which divergence?"""

from paper.scales import SCALES

from pdstudy import KLD, LM, NLL, BesidePaper, Compare, Cost, Curves, Study, TopPK, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    losses = {"NLL": NLL(), "KLD": KLD(), "MSE": s.mse}
    arms = {"LM": LM(), **{name: s.kd(loss=loss) for name, loss in losses.items()}}
    if s.controls:
        arms["MSE, all ids"] = s.kd(loss=s.mse, truncation=TopPK(p=1, k=None), stored="live")
    return s.study(
        "s07",
        title="S7: distillation losses (Table 5)",
        about="NLL and KLD have one gradient: what differs between them is rounding, here, and a run's noise in the "
        "paper. What the paper's MSE is of is not said; ours has no gradient outside the ids that the store keeps, "
        "which the arm of all ids has.",
        grid=axis("loss", arms, field="objective"),
        baseline={"loss": "LM"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            BesidePaper(axis="loss", table="5", pairs=(("LM", "LLM-LM"), *((name, f"LLM-{name}") for name in losses))),
            Curves(lines="loss"),
            Cost(),
        ),
    )
