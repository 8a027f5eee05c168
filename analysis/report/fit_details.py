"""How a fit was found and how sure it is, in words and a table of its coefficients."""

from __future__ import annotations

import numpy as np

from pdstudy.analysis.fit.bootstrap import Bootstrap
from pdstudy.analysis.fit.findings import warnings
from pdstudy.analysis.fit.fit_result import Fit
from pdstudy.analysis.report.page import Block, Text
from pdstudy.analysis.tables.builders import fit_table


def fit_details(name: str, fit: Fit, bootstrap: Bootstrap | None) -> list[Block]:
    """The law, its coefficients with intervals where there are any, and how the minimisation went."""
    error = 100 * float(np.sqrt(np.mean(fit.residuals**2)))
    found = (
        f"{name}: the {fit.law.name} law {fit.law.formula} ({fit.law.source}) misses the losses by {error:.2g} % "
        f"(root mean square). {fit.agreeing_apart} of {int(fit.apart.sum())} minimisations from starts "
        "that are apart ended there" + (f"; {'; '.join(warnings(fit))}." if warnings(fit) else ".")
    )
    return [Text(found), fit_table(fit, bootstrap)]
