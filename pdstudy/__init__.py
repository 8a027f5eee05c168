"""pdstudy: declare, price, run and analyse studies of pre-training distillation.

What a study file needs is here; importing it imports neither torch nor transformers.
"""

from pdstudy.config import WSD, AdamW, Cosine, Heldout, Placement, Pretrained, Run
from pdstudy.coverage import Coverage
from pdstudy.data import (
    BPE,
    Corpus,
    HubDataset,
    LocalFiles,
    Packaged,
    PretrainedTokenizer,
    Slice,
    Source,
    StandardLibrary,
    View,
)
from pdstudy.normal import ConfigError, Problem
from pdstudy.objective import KD, LM, NLL, Temperature, TopPK
from pdstudy.outputs import Compare, Cost, Curves, SizeLaw, Sweep
from pdstudy.shapes import Shape, TransformersConfig
from pdstudy.study import CPU_CORE, H100, Grid, Machine, Study, arm, axis

__all__ = [
    "BPE", "CPU_CORE", "H100", "KD", "LM", "NLL", "WSD", "AdamW", "Compare", "ConfigError", "Corpus", "Cosine", "Cost",
    "Coverage", "Curves", "Grid", "Heldout", "HubDataset", "LocalFiles", "Machine", "Packaged", "Placement",
    "Pretrained", "PretrainedTokenizer", "Problem", "Run", "Shape", "SizeLaw", "Slice", "Source", "StandardLibrary",
    "Study", "Sweep", "Temperature", "TopPK", "TransformersConfig", "View", "arm", "axis",
]  # fmt: skip
