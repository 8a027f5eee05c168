"""S4, Tables 2 and 9: at which temperature should the teacher be learned?"""

from scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, Study, Temperature, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    taus = {f"{tau:g}": s.kd(temperature=Temperature(tau=tau)) for tau in s.taus}
    return s.study(
        "s04",
        title="S4: static temperature (Tables 2 and 9)",
        about="Vanilla distillation over tau. The teacher alone is divided by tau, so that any tau but 1 bends what "
        "the student says of text: raw loss on text tells against it.",
        grid=axis("tau", {"LM": LM(), **taus}, field="objective"),
        baseline={"tau": "LM"},
        outputs=(Compare(), Curves(lines="tau"), Cost()),
    )
