"""S10, Figure 4 and Tables 7 and 11: which students gain, and from which teacher?"""

from paper.scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, GainBySize, GainDifferences, NoiseFloor, PaperTable, SizeLaw, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    teachers = {name: s.kd(teacher=teacher) for name, teacher in s.teachers.items()}
    pairs = tuple(
        (f"{student} {teacher}", f"{teacher} {student}") for student in s.students for teacher in ("none", *teachers)
    )
    return s.study(
        "s10",
        title="S10: sizes of student and teacher (Figure 4, Table 11)",
        about="Students of all sizes without a teacher and with each teacher, at vanilla settings.",
        grid=axis("student", s.students) * axis("teacher", {"none": LM(), **teachers}, field="objective"),
        baseline={"teacher": "none"},
        outputs=(
            GainBySize(),
            Compare(),
            GainDifferences(axis="student"),
            PaperTable(table="11", pairs=pairs),
            Curves(lines="teacher", panels="student"),
            SizeLaw(lines="teacher"),
            NoiseFloor(),
            Cost(),
        ),
    )
