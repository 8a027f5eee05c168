"""S4, Tables 2 and 9: at which temperature should the teacher be learned?"""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, Study, Temperature, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    taus = {f"{tau:g}": s.kd(temperature=Temperature(tau=tau)) for tau in s.taus}
    pairs = (("LM", "LLM-LM"), *((label, str(float(label))) for label in taus))
    return s.study(
        "s04",
        title="S4: static temperature (Tables 2 and 9)",
        about="Vanilla distillation over tau. The teacher alone is divided by tau, so that any tau but 1 bends what "
        "the student says of text: raw loss on text counts against it.",
        grid=axis("tau", {"LM": LM(), **taus}, field="objective"),
        baseline={"tau": "LM"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            BesidePaper(axis="tau", table="9", pairs=pairs),
            Curves(lines="tau"),
            Cost(),
        ),
    )
