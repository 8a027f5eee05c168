"""S2, Figure 2 and Table 8: how much of the teacher's probability has to be kept?"""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, GainAndKept, Study, TopPK, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    cuts = {f"{p:g}": s.kd(truncation=TopPK(p=p, k=s.cut.k)) for p in s.ps}
    pairs = (("LM", "LLM-LM"), *((label, f"top-{label}-100") for label in cuts))
    return s.study(
        "s02",
        title="S2: p of top-p-k (Figure 2, Table 8)",
        about=f"Vanilla distillation at top-p-{s.cut.k} over p, against LM.",
        grid=axis("p", {"LM": LM(), **cuts}, field="objective"),
        baseline={"p": "LM"},
        outputs=(
            GainAndKept(x="p"),
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            BesidePaper(axis="p", table="8", pairs=pairs),
            Curves(lines="p"),
            Cost(),
        ),
    )
