"""Busbridge et al. 2025, design (ii): teachers of equal compute over students of 20 tokens per parameter.

Four students, 198M, 546M, 975M and 1.82B (one caption of the paper has 7.75B in the place of 198M), and the budgets of
design (i) for the teachers. Which teachers each budget has is not known to us: here as in design (i).
"""

from published.family import BUDGETS, by_ratio, isoflop, planned, student, teacher

from pdstudy import Study, axis

STUDENTS = ("198M", "546M", "975M", "1.82B")


def study(scale: str = "paper") -> Study:
    """One scale: `paper`."""
    teachers = {label: teacher(*model) for label, model in isoflop(BUDGETS[scale]).items()}
    return planned(
        "scaling-isoflop-teachers",
        title="Distillation scaling: isoFLOP teachers",
        about="Students of four sizes at 20 tokens per parameter under teachers of equal training compute.",
        grid=axis("student", {size: student(size, by_ratio(size)) for size in STUDENTS})
        * axis("teacher", teachers, field="objective"),
    )
