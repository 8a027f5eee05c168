"""Does the best learning rate stay where it is as students grow: standard parametrisation beside muP, LM and KD.

Students of two layers and widths 32 to 256 on the quickstart's text, budget and teacher, over rates in steps of the
root of 2. In muP (`MuP(base_width=32)`) the rate is that of width 32 at all widths; in the standard parametrisation
each width has its own (`studies/lr.py` found it for the quickstart). `reports/NOTES.md` has what came of it.
"""

import dataclasses

from quickstart import HELDOUT, base, corpus
from quickstart import shape as standard_shape

from pdstudy import LM, Cost, Grid, MuP, Shape, Study, Sweep, axis

BASE_WIDTH = 32

WIDTHS: dict[str, tuple[int, ...]] = {"quick": (32, 64, 128), "full": (32, 64, 128, 256)}

RATES: dict[str, dict[str, tuple[float, ...]]] = {
    "quick": {"muP": (4e-3, 8e-3, 1.6e-2, 3.2e-2), "standard": (2e-3, 4e-3, 8e-3, 1.6e-2)},
    "full": {
        "muP": (4e-3, 5.7e-3, 8e-3, 1.13e-2, 1.6e-2, 2.26e-2, 3.2e-2),
        "standard": (1e-3, 1.4e-3, 2e-3, 2.8e-3, 4e-3, 5.7e-3, 8e-3, 1.13e-2, 1.6e-2, 2.26e-2),
    },
}
"""Peak rates: in steps of 2, and of the root of 2. The standard optimum moves down as width grows."""

SEEDS: dict[str, tuple[int, ...]] = {"quick": (0,), "full": (0, 1)}


def shape(width: int, parametrisation: str) -> Shape:
    plain = standard_shape(width, 2)
    if parametrisation == "standard":
        return plain
    # The deviation is that of the base; MuP makes that of each width's matrices of it.
    return dataclasses.replace(
        plain,
        init_std=standard_shape(BASE_WIDTH, 2).init_std,
        parametrisation=MuP(base_width=BASE_WIDTH),
    )


def study(scale: str = "full") -> Study:
    """Scales: `full`, and `quick` for rates in steps of 2, widths to 128 and one seed."""
    run, kd = base(corpus("mini"))

    def grid(parametrisation: str) -> Grid:
        arms = {f"{parametrisation}, {name}": {"objective": loss} for name, loss in (("LM", LM()), ("KD", kd))}
        students = {str(width): shape(width, parametrisation) for width in WIDTHS[scale]}
        rates = axis("lr", RATES[scale][parametrisation], field="optimiser.lr")
        return axis("arm", arms) * axis("width", students, field="student") * rates

    return Study(
        name="transfer" if scale == "full" else f"transfer-{scale}",
        title="Learning rates against width, standard and muP",
        about="Final validation loss against the peak rate by width: standard parametrisation and muP, LM and KD.",
        base=run,
        grid=grid("standard") + grid("muP"),
        seeds=SEEDS[scale],
        evaluations=HELDOUT,
        outputs=(Sweep(x="lr", lines="width", panels="arm"), Cost()),
    )
