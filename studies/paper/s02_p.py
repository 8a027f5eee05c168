"""S2, Figure 2 and Table 8: how much of the teacher's probability has to be kept?"""

from scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, Study, TopPK, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    cuts = {f"{p:g}": s.kd(truncation=TopPK(p=p, k=s.cut.k)) for p in s.ps}
    return s.study(
        "s02",
        title="S2: p of top-p-k (Figure 2, Table 8)",
        about=f"Vanilla distillation at top-p-{s.cut.k} over p, against LM.",
        grid=axis("p", {"LM": LM(), **cuts}, field="objective"),
        baseline={"p": "LM"},
        outputs=(Compare(), Curves(lines="p"), Cost()),
    )
