"""What makes the searched mixture better: the tail, the learning rate, the schedule of alpha, or the mixture itself?

From the best of the paper's family at mini scale (WSD-alpha under WSD, `studies/paper/s09_wsd.py`) to the mixture that
`studies/search_mixture.py` found, one change at a time; last, the mixture at the rate from which all began. The seeds
are neither the search's nor those of its last comparison, by which this trial was chosen.
"""

from paper.scales import SCALES

from pdstudy import KLD, Compare, Cost, Curves, JensenShannon, ReverseKL, Steady, Study, Tail, Weighted, axis

# The best on fresh seeds of the first search (reports/NOTES.md). What later ones find lies around it.
LM_SHARE = 0.121
MIXTURE = Weighted(terms=((0.675, KLD()), (0.223, ReverseKL()), (0.102, JensenShannon())))
RATE = 5.06e-3


def study(scale: str = "mini") -> Study:
    """Scales: those of `studies/paper`. What was searched, it was at `mini`."""
    s = SCALES[scale]
    # S9 has the negative log-likelihood, whose gradients are those of KL.
    wsd_alpha = {"alpha": s.alpha_max, "mix": s.alpha_wsd, "loss": KLD()}
    tail = {**wsd_alpha, "rest": Tail()}
    steady = {**tail, "alpha": 1 - LM_SHARE, "mix": Steady()}
    mixture = {**steady, "loss": MIXTURE}
    usual = s.rate(s.run(objective=s.kd()))
    arms = {
        "WSD-alpha": {"objective": s.kd(**wsd_alpha), "optimiser.lr": usual},
        "+ tail": {"objective": s.kd(**tail), "optimiser.lr": usual},
        "+ tail, rate": {"objective": s.kd(**tail), "optimiser.lr": RATE},
        "+ tail, rate, steady": {"objective": s.kd(**steady), "optimiser.lr": RATE},
        "mixture": {"objective": s.kd(**mixture), "optimiser.lr": RATE},
        "mixture, usual rate": {"objective": s.kd(**mixture), "optimiser.lr": usual},
    }
    steps = ("+ tail", "+ tail, rate", "+ tail, rate, steady", "mixture")
    return Study(
        name=f"{s.name}-apart",
        title="The searched mixture, taken apart",
        about="From the paper's best recipe here to the searched mixture, one change at a time: the tail bucket, the "
        "learning rate, a steady alpha, the mixture.",
        base=s.run(schedule=s.wsd),
        grid=axis("arm", arms),
        seeds=(20, 21, 22, 23, 24),
        baseline={"arm": "WSD-alpha"},
        evaluations=s.evaluations,
        placement=s.placement,
        executions=s.executions,
        machine=s.machine,
        elsewhere=s.elsewhere,
        outputs=(
            Compare(),
            *(Compare(title=f"Against {arm}", against=arm) for arm in steps),
            Compare(metric="recalibrated", title="After recalibration"),
            Curves(lines="arm"),
            Cost(),
        ),
    )
