"""Busbridge et al. 2025, design (iii): ten teachers, five students, tokens per student parameter from 20 to 320.

The numbers of teachers (at 20 tokens per parameter) and students and the ratios are the paper's; which sizes they are
is not known to us: here the ten of the family, and the students of design (ii) with 143M. The 1.82B student at 320 sees
583B tokens, more than the 512B that the paper gives as its largest budget.
"""

from published.family import LAYERS, by_ratio, planned, student, teacher

from pdstudy import Study, axis

STUDENTS = ("143M", "198M", "546M", "975M", "1.82B")
RATIOS = {"paper": (20, 40, 80, 160, 320)}


def study(scale: str = "paper") -> Study:
    """One scale: `paper`."""
    students = {f"{s} x {ratio}": student(s, by_ratio(s, ratio)) for s in STUDENTS for ratio in RATIOS[scale]}
    teachers = {size: teacher(size, by_ratio(size)) for size in LAYERS}
    return planned(
        "scaling-fixed-ratios",
        title="Distillation scaling: fixed ratios",
        about="Students of five sizes at 20 to 320 tokens per parameter under teachers of ten sizes at 20.",
        grid=axis("student", students) * axis("teacher", teachers, field="objective"),
    )
