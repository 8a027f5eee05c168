"""Which peak learning rate suits each student size, for LM and for KD?

The quickstart's students and budget over a grid of rates, two seeds. Of each size and loss, `studies/quickstart.py`
uses the lowest rate whose mean validation loss is within 0.03 nats of the best; `reports/lr/` has the curves,
`reports/NOTES.md` the table.
"""

from quickstart import HELDOUT, STUDENTS, base, corpus

from pdstudy import LM, Cost, Study, Sweep, axis

RATES = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)


def study(scale: str = "mini") -> Study:
    """Scales: `mini` (Wikipedia leads) and `offline` (Python's own sources)."""
    student, kd = base(corpus(scale))
    grid = axis("student", STUDENTS) * axis("loss", {"LM": LM(), "KD": kd}, field="objective")
    return Study(
        name="lr" if scale == "mini" else f"lr-{scale}",
        title="Learning rates by student size, for LM and KD",
        about="Final validation loss against the peak learning rate, at the quickstart's sizes, data and budget.",
        base=student,
        grid=grid * axis("lr", RATES, field="optimiser.lr"),
        seeds=(0, 1),
        evaluations=HELDOUT,
        outputs=(Sweep(x="lr", lines="loss", panels="student"), Cost()),
    )
