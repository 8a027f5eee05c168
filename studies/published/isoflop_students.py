"""Busbridge et al. 2025, design (i): students of equal compute under teachers of 20 tokens per parameter.

Six teachers of 546M to 7.75B, and student budgets of 3e19 to 1e21 FLOPs and 3e21, are the paper's. Which four teachers
stand between is not known to us (here 975M, 1.82B, 2.72B and 4.82B, of the same family), nor are the students of each
budget: here all of the family whose tokens are 2 to 500 per parameter.
"""

from published.family import BUDGETS, by_ratio, isoflop, planned, student, teacher

from pdstudy import Study, axis

TEACHERS = ("546M", "975M", "1.82B", "2.72B", "4.82B", "7.75B")


def study(scale: str = "paper") -> Study:
    """One scale: `paper`."""
    students = {label: student(*model) for label, model in isoflop(BUDGETS[scale]).items()}
    teachers = {size: teacher(size, by_ratio(size)) for size in TEACHERS}
    return planned(
        "scaling-isoflop-students",
        title="Distillation scaling: isoFLOP students",
        about="Students of equal training compute under teachers of six sizes at 20 tokens per parameter.",
        grid=axis("student", students) * axis("teacher", teachers, field="objective"),
    )
