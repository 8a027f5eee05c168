"""S5, Table 3: does a temperature per token help?"""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    rules = {"NormKD": s.norm_kd, "WTTM": s.wttm, "AdaKD_SD": s.by_spread, "AdaKD_H": s.by_entropy}
    return s.study(
        "s05",
        title="S5: adaptive temperature (Table 3)",
        about="Rules for a temperature per token, against LM. The paper prints none of their constants: the scale's "
        "are used.",
        grid=axis(
            "rule", {"LM": LM(), **{name: s.kd(temperature=rule) for name, rule in rules.items()}}, field="objective"
        ),
        baseline={"rule": "LM"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            BesidePaper(axis="rule", table="3", pairs=(("LM", "LLM-LM"), *((name, name) for name in rules))),
            Curves(lines="rule"),
            Cost(),
        ),
    )
