"""Comparisons of arms with a baseline: paired by seed over runs, paired by item over downstream tasks.

Fits no law and reads no run directory: a table of runs goes in."""

from pdstudy.analysis.compare.comparison import Comparison, Effect, Verdict
from pdstudy.analysis.compare.family import adjust, holm
from pdstudy.analysis.compare.gains import compare_gains
from pdstudy.analysis.compare.items import ItemEffect, accuracy_effect, bits_effect, mean_effect, sign_flip
from pdstudy.analysis.compare.noise_floor import Noise, measure_noise
from pdstudy.analysis.compare.seeds import bootstrap_seeds, compare

__all__ = [
    "Comparison",
    "Effect",
    "ItemEffect",
    "Noise",
    "Verdict",
    "accuracy_effect",
    "adjust",
    "bits_effect",
    "bootstrap_seeds",
    "compare",
    "compare_gains",
    "holm",
    "mean_effect",
    "measure_noise",
    "sign_flip",
]
