"""S11, Figure 5 and Table 12: do the gains last over more tokens? Scores along one cosine run, as the paper has it."""

import dataclasses

from paper.scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, PaperTable, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    every = tuple(steps * s.tokens_per_step for steps in s.checkpoints)
    return s.study(
        "s11",
        base=s.run(steps=s.long_steps, data=s.data),
        title="S11: tokens (Figure 5, Table 12)",
        about="Two students at the long budget, with and without the teacher, scored along the way under a learning "
        "rate that decays only at the end: losses on the way are not those of shorter runs.",
        grid=axis("student", {name: s.students[name] for name in s.long_students})
        * axis("loss", {"LM": LM(), "KD": s.kd()}, field="objective"),
        baseline={"loss": "LM"},
        downstream=tuple(dataclasses.replace(d, at=every) for d in s.downstream),
        outputs=(Curves(lines="loss", panels="student"), Compare(), PaperTable(table="12"), Cost()),
    )
