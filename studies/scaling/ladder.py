"""Loss against size and tokens: a ladder of widths, each over six budgets, without a teacher.

The larger the run the longer; `pdstudy run --only 'width=w64*'` makes a part, and the rest waits.
"""

from scaling.family import HELDOUT, SCALES, in_millions

from pdstudy import ComputeOptimal, Cost, HoldOut, IsoFlop, JointLaw, Slice, Study

LAW = JointLaw()


def study(scale: str = "small") -> Study:
    """Scales: `small`, `gpu` and `tiny`."""
    s = SCALES[scale]
    held_out = [
        HoldOut(law=LAW, where={"width": f"w{width}", "tokens": in_millions(tokens)}) for width, tokens in s.held_out
    ]
    return Study(
        name="scaling-ladder" if scale == "small" else f"scaling-ladder-{scale}",
        title="Loss against size and tokens",
        about="One family of widths at four layers, trained on text alone.",
        base=s.trained(s.widths[0], s.tokens[-1], Slice(tokens=s.tokens[-1])),
        grid=s.ladder(),
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(LAW, IsoFlop(budgets=s.budgets), ComputeOptimal(law=LAW, budgets=s.budgets), *held_out, Cost()),
        machine=s.machine,
    )
