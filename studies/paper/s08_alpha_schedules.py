"""S8, Table 5, second part: should the teacher's share rise, fall, or come and go?"""

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, LinearMix, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    mixes = {
        "Linear Inc": LinearMix(first=0, last=1),
        "Linear Dec": LinearMix(first=1, last=0),
        "Period": s.period,
    }
    schedules = {name: s.kd(alpha=s.alpha_max, mix=mix) for name, mix in mixes.items()}
    rows = {"Linear Inc": "Linear Inc (α)", "Linear Dec": "Linear Dec (α)", "Period": "Period (α)"}
    pairs = (("LM", "LLM-LM"), *rows.items())
    return s.study(
        "s08",
        title="S8: schedules of alpha (Table 5)",
        about="Alpha over training under the cosine learning rate. End points and periods are not in the paper.",
        grid=axis("schedule", {"LM": LM(), **schedules}, field="objective"),
        baseline={"schedule": "LM"},
        outputs=(
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            Compare(against="Linear Dec", title="Against the paper's best schedule"),
            BesidePaper(axis="schedule", table="5", pairs=pairs),
            Curves(lines="schedule"),
            Cost(),
        ),
    )
