"""S3b, Figures 2 and 3, right axes: how many logits does each p and k keep? No student is trained."""

from paper.scales import SCALES

from pdstudy import Capture, Grid, Study, TopPK


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    return s.study(
        "s03b",
        title="S3b: kept logits (Figures 2 and 3)",
        about="Entries and mass that top-p-k keeps of a token of held-out text, for each teacher, over p and k. One "
        "store of top-0.95-inf of each serves all of them.",
        grid=Grid(()),
        evaluations=(),
        downstream=(),
        captures={
            name: Capture(
                teacher=teacher, corpus=s.corpus, view=s.view, data=s.inspected, truncation=TopPK(p=0.95, k=None)
            )
            for name, teacher in s.teachers.items()
        },
    )
