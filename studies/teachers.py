"""Which peak learning rate suits the teachers of the mini scale?

Both sizes at their own budget over a grid of rates. The lowest validation loss of each is what `studies/quickstart.py`
and `studies/paper/scales.py` use; `reports/teachers/` has the curves.
"""

from paper.scales import SCALES

from pdstudy import Cost, Run, Study, Sweep, axis

RATES = (7e-4, 1e-3, 1.4e-3, 2e-3, 4e-3, 8e-3)


def study(scale: str = "mini") -> Study:
    """Scales: `mini`, or one of yours in paper/scales.py whose teachers are trained by pdstudy."""
    s = SCALES[scale]
    teachers = {name: teacher for name, teacher in s.teachers.items() if isinstance(teacher, Run)}
    first = next(iter(teachers.values()))
    sizes = {name: teacher.student for name, teacher in teachers.items()}
    return Study(
        name=f"{s.name}-teachers",
        title="Learning rates of the teachers",
        about="Final validation loss against the peak learning rate, at the teachers' sizes, data and budget.",
        base=first,
        grid=axis("teacher", sizes, field="student") * axis("lr", RATES, field="optimiser.lr"),
        seeds=(0,),
        evaluations=s.evaluations[:2],
        outputs=(Sweep(x="lr", lines="teacher"), Cost()),
    )
