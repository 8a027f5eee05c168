"""Loss against size and tokens: a ladder of widths, each over six budgets, without a teacher."""

from scaling.family import HELDOUT, LADDER, SCALES, STEP, shape, trained

from pdstudy import WSD, Cost, Slice, Study, axis


def study(scale: str = "small") -> Study:
    """Scales: `small` and `tiny`."""
    s = SCALES[scale]
    base = trained(s.widths[0], s.tokens[-1], Slice(tokens=max(s.tokens)))
    grid = axis("width", {str(width): shape(width) for width in s.widths}, field="student") * axis(
        "tokens", {label(tokens): budget(tokens) for tokens in s.tokens}
    )
    return Study(
        name=f"scaling-ladder-{scale}",
        title="Loss against size and tokens",
        about="One family of widths at four layers, trained on text alone.",
        base=base,
        grid=grid,
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(Cost(),),
    )
