"""The ladder's peak rate at a quarter of its longest budget: which is best, and at all widths the same?"""

from scaling.family import HELDOUT, SCALES, shape

from pdstudy import Cost, Slice, Study, Sweep, TransferCheck, axis

RATES = (2e-3, 2.83e-3, 4e-3, 5.66e-3, 8e-3, 1.13e-2, 1.6e-2)
WIDTHS = {"small": (32, 64), "gpu": (128, 256), "tiny": (16, 32)}


def study(scale: str = "small") -> Study:
    """Scales: `small`, `gpu` and `tiny`."""
    s = SCALES[scale]
    longest = s.tokens[-1]
    return Study(
        name="scaling-rates" if scale == "small" else f"scaling-rates-{scale}",
        title="The ladder's learning rate",
        about="Peak rates in steps of root two, at a quarter of the ladder's longest budget and with its schedule.",
        base=s.trained(WIDTHS[scale][0], longest // 4, Slice(tokens=longest)),
        grid=axis("width", {f"w{width}": shape(width) for width in WIDTHS[scale]}, field="student")
        * axis("lr", RATES, field="optimiser.lr"),
        seeds=(0,),
        evaluations=HELDOUT,
        outputs=(Sweep(x="lr", lines="width"), TransferCheck(rate="lr", width="width"), Cost()),
        machine=s.machine,
    )
