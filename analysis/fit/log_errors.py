"""Statistics of the errors of predicted losses."""

from __future__ import annotations

import numpy as np

from pdstudy.analysis.fit.extrapolation import rms
from pdstudy.analysis.laws.base import Array


class LogErrors:
    """A result with `errors`: ln of measured minus ln of predicted loss, one per run."""

    errors: Array

    @property
    def rms(self) -> float:
        """Root mean square of the log errors."""
        return rms(self.errors)

    @property
    def mean(self) -> float:
        """Mean signed log error: below zero the law predicts too high a loss."""
        return float(np.mean(self.errors))

    @property
    def worst(self) -> float:
        """Largest absolute log error."""
        return float(np.abs(self.errors).max())
