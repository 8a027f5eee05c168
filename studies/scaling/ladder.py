"""Loss against size and tokens: a ladder of widths, each over six budgets, without a teacher.

The larger the run the longer: `--only` makes a part of it, and everything else waits for the next sitting.
"""

from scaling.family import HELDOUT, SCALES, budget, shape, trained

from pdstudy import ComputeOptimal, Cost, HoldOut, IsoFlop, JointLaw, Slice, Study, axis

LAW = JointLaw()


def study(scale: str = "small") -> Study:
    """Scales: `small` and `tiny`."""
    s = SCALES[scale]
    widths = {f"w{width}": width for width in s.widths}
    budgets = {f"{tokens / 1e6:.3g}M": tokens for tokens in s.tokens}
    grid = axis("width", {label: shape(width) for label, width in widths.items()}, field="student")
    grid *= axis("tokens", {label: budget(tokens) for label, tokens in budgets.items()})
    return Study(
        name="scaling-ladder" if scale == "small" else f"scaling-ladder-{scale}",
        title="Loss against size and tokens",
        about="One family of widths at four layers, trained on text alone.",
        base=trained(s.widths[0], s.tokens[-1], Slice(tokens=s.tokens[-1])),
        grid=grid.where(lambda arm: s.has(widths[arm["width"]], budgets[arm["tokens"]])),
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(
            LAW,
            IsoFlop(budgets=s.budgets),
            ComputeOptimal(law=LAW, budgets=s.budgets),
            *(
                HoldOut(law=LAW, where={"width": f"w{width}", "tokens": label})
                for width, tokens in s.held_out
                for label in [f"{tokens / 1e6:.3g}M"]
            ),
            Cost(),
        ),
    )
