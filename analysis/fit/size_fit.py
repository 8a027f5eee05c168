"""The power law of student size that a study's few sizes can support."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pdstudy.analysis.fit.fit import DELTA, fit
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.laws import power_law
from pdstudy.core.format import si


def size_fit(data: pd.DataFrame) -> tuple[Fit, str]:
    """A power law of size: with a floor where the data identify one, else without. Raises what the fit raises."""
    span = f"{data['N'].nunique()} sizes from {si(data['N'].min())} to {si(data['N'].max())}, {len(data)} runs"
    # Seeds of one size scatter by more than the usual threshold of 1e-3 at small scale, which would make the fit one
    # of medians; three times their spread keeps it a least-squares fit that a run gone wrong cannot bend.
    spread = np.log(data["loss"]).groupby(data["N"]).std().pow(2).mean() ** 0.5
    delta = max(DELTA, 3 * float(np.nan_to_num(spread)))
    floor = fit(data, power_law("N"), columns={"N": "N"}, delta=delta)
    if floor.ok and not floor.at_bound and floor.condition < 1e4 and floor.parameters["E"] > 0.05 * data["loss"].min():
        return floor, f"power law with a floor over {span}"
    return fit(data, power_law("N", floor=False), columns={"N": "N"}, delta=delta), (
        f"power law without a floor over {span}; a floor is not identified by so short a range, and so the law is no "
        "ground for extrapolation"
    )
