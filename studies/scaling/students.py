"""Loss of students against their teacher's: four widths, four budgets, five teachers that the ladder has made.

Teachers are runs of the ladder, so that their losses differ by size and by tokens: two pairs are nearly equal in loss
and not in size, which shows whether a teacher's loss is all that matters. Students learn from 64 draws of each of the
teacher's distributions, whose gradient is that of whole distributions in the mean.
"""

from scaling.family import HELDOUT, SCALES, in_millions, shape

from pdstudy import KD, LM, Cost, DistillationLaw, DistilOrTrain, HoldOut, JointLaw, Sampled, Slice, Study, axis

ALONE = JointLaw(where={"teacher": "none"})


def study(scale: str = "small") -> Study:
    """Scales: `small`, `gpu` and `tiny`."""
    s = SCALES[scale]
    ladder, text = Slice(tokens=s.tokens[-1]), Slice(start=s.tokens[-1], tokens=s.student_tokens[-1])
    teachers = {
        f"w{width} {in_millions(tokens)}": KD(
            teacher=s.trained(width, tokens, ladder), truncation=Sampled(draws=64), alpha=1.0
        )
        for width, tokens in s.teachers
    }
    students = (
        axis("width", {f"w{width}": shape(width) for width in s.students}, field="student")
        * axis("tokens", {in_millions(tokens): s.budget(tokens) for tokens in s.student_tokens})
        * axis("teacher", teachers, field="objective")
    )
    alone = s.ladder() * axis("teacher", {"none": {"objective": LM(), "data": ladder}})
    law = DistillationLaw(supervised=ALONE, where={"teacher": tuple(teachers)})
    longest = {"width": f"w{s.students[-1]}", "tokens": in_millions(s.student_tokens[-1]), "teacher": tuple(teachers)}
    return Study(
        name="scaling-students" if scale == "small" else f"scaling-students-{scale}",
        title="Loss of students against their teachers'",
        about=f"Students of {len(s.students)} widths at {len(s.student_tokens)} budgets under {len(teachers)} "
        "teachers of the ladder, and the ladder itself.",
        base=s.trained(s.students[0], s.student_tokens[-1], text),
        grid=alone + students,
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(law, DistilOrTrain(law=law), HoldOut(law=law, where=longest), Cost()),
        machine=s.machine,
    )
