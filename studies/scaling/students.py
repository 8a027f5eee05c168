"""Loss of students against their teacher's: four widths, four budgets, five teachers that the ladder has made.

Teachers are runs of the ladder, so that their losses differ by size and by tokens: two pairs are nearly equal in loss
and not in size, which shows whether a teacher's loss is all that matters. Students learn from 64 draws of each of the
teacher's distributions, whose gradient is that of whole distributions in the mean.
"""

from scaling.family import HELDOUT, SCALES, budget, shape, trained

from pdstudy import KD, Cost, Sampled, Slice, Study, axis


def study(scale: str = "small") -> Study:
    """Scales: `small` and `tiny`."""
    s = SCALES[scale]
    ladder, text = Slice(tokens=s.tokens[-1]), Slice(start=s.tokens[-1], tokens=s.student_tokens[-1])
    teachers = {
        f"w{width} {tokens / 1e6:.3g}M": KD(
            teacher=trained(width, tokens, ladder), truncation=Sampled(draws=64), alpha=1.0
        )
        for width, tokens in s.teachers
    }
    return Study(
        name="scaling-students" if scale == "small" else f"scaling-students-{scale}",
        title="Loss of students against their teachers'",
        about="Students of four widths at four budgets, each from five teachers of the ladder.",
        base=trained(s.students[0], s.student_tokens[-1], text),
        grid=axis("width", {f"w{width}": shape(width) for width in s.students}, field="student")
        * axis("tokens", {f"{tokens / 1e6:.3g}M": budget(tokens) for tokens in s.student_tokens})
        * axis("teacher", teachers, field="objective"),
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(Cost(),),
    )
