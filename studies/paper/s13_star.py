"""S13, Figure 1 and Table 13: the paper's best of each dimension together (PD*)."""

from paper.scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, GainBySize, GainDifferences, PaperTable, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    arms = {
        "LM": {"objective": LM(), "schedule": s.cosine},
        "vanilla PD": {"objective": s.kd(), "schedule": s.cosine},
        "PD*": {"objective": s.star, "schedule": s.wsd},
    }
    return s.study(
        "s13",
        title="S13: PD* (Figure 1, Table 13)",
        about="Top-0.95-50, tau 2, KLD, WSD for alpha up to 0.9 and for the learning rate, against LM and vanilla PD "
        "under the cosine, as the paper compares them. S9 has LM under WSD.",
        grid=axis("student", {name: s.students[name] for name in s.star_students}) * axis("arm", arms),
        baseline={"arm": "LM"},
        outputs=(
            GainBySize(),
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            Compare(against="vanilla PD", title="Differences from vanilla PD"),
            Compare(metric="recalibrated", against="vanilla PD", title="From vanilla PD, after recalibration"),
            GainDifferences(axis="student", against="vanilla PD", title="Does what PD* gains over vanilla PD grow?"),
            PaperTable(table="13"),
            Curves(lines="arm", panels="student"),
            Cost(),
        ),
    )
