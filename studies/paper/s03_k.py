"""S3, Figure 3 and Table 8: how many of the teacher's logits have to be kept?"""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, GainAndKept, Study, TopPK, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    cuts = {str(k): s.kd(truncation=TopPK(p=s.cut.p, k=k)) for k in s.ks}
    pairs = (("LM", "LLM-LM"), *((label, f"top-0.95-{label}") for label in cuts))
    return s.study(
        "s03",
        title="S3: k of top-p-k (Figure 3, Table 8)",
        about=f"Vanilla distillation at top-{s.cut.p:g}-k over k, against LM.",
        grid=axis("k", {"LM": LM(), **cuts}, field="objective"),
        baseline={"k": "LM"},
        outputs=(
            GainAndKept(x="k"),
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            BesidePaper(axis="k", table="8", pairs=pairs),
            Curves(lines="k"),
            Cost(),
        ),
    )
