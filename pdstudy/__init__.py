"""pdstudy: declare, price, run and analyse studies of pre-training distillation.

What a study file needs is here; importing it imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdstudy.captures import Capture
from pdstudy.config import WSD, AdamW, Cosine, Heldout, Online, Placement, Pretrained, Run, Start
from pdstudy.coverage import Coverage
from pdstudy.data import (
    BPE,
    ENGLISH,
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
from pdstudy.downstream import OFFLINE_SUITE, PAPER_SUITE, Downstream, ItemFile, PackagedItems, Task
from pdstudy.evaluations import HeldoutResponses, Probe
from pdstudy.execution import Execution
from pdstudy.finetuning import Finetuning
from pdstudy.grid import Grid, arm, axis
from pdstudy.instructions import Definitions, Instructions, LocalExamples
from pdstudy.losses import (
    KLD,
    MSE,
    NLL,
    WTTM,
    Adaptive,
    Decoupled,
    JensenShannon,
    NormKD,
    OntoGold,
    Plain,
    Renormalise,
    RenormaliseBoth,
    ReverseKL,
    SkewKL,
    Smooth,
    Tail,
    Temperature,
    TotalVariation,
    Weighted,
    ZLoss,
)
from pdstudy.machines import CPU_CORE, H100, Machine
from pdstudy.mixing import (
    ByConfidence,
    ByEntropy,
    CosineMix,
    LinearMix,
    OnData,
    PeriodicMix,
    Routed,
    Steady,
    Until,
    WSDMix,
)
from pdstudy.normal import ConfigError, Problem
from pdstudy.objective import KD, LM, Sampled, TopPK
from pdstudy.outputs import (
    BesidePaper,
    Compare,
    Cost,
    Curves,
    GainAndKept,
    GainBySize,
    LossByTokens,
    PaperTable,
    SizeLaw,
    Sweep,
)
from pdstudy.scale import Scale
from pdstudy.shapes import Shape, TransformersConfig
from pdstudy.storage import Kept
from pdstudy.study import Study

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = [
    "BPE",
    "CPU_CORE",
    "ENGLISH",
    "H100",
    "KD",
    "KLD",
    "LM",
    "MSE",
    "NLL",
    "OFFLINE_SUITE",
    "PAPER_SUITE",
    "WSD",
    "WTTM",
    "AdamW",
    "Adaptive",
    "BesidePaper",
    "ByConfidence",
    "ByEntropy",
    "Capture",
    "Compare",
    "ConfigError",
    "Corpus",
    "Cosine",
    "CosineMix",
    "Cost",
    "Coverage",
    "Curves",
    "Decoupled",
    "Definitions",
    "Downstream",
    "Execution",
    "Finetuning",
    "GainAndKept",
    "GainBySize",
    "Grid",
    "Heldout",
    "HeldoutResponses",
    "HubDataset",
    "Instructions",
    "ItemFile",
    "JensenShannon",
    "Kept",
    "LinearMix",
    "LocalExamples",
    "LocalFiles",
    "LossByTokens",
    "Machine",
    "NormKD",
    "OnData",
    "Online",
    "OntoGold",
    "Packaged",
    "PackagedItems",
    "PaperTable",
    "PeriodicMix",
    "Placement",
    "Plain",
    "Pretrained",
    "PretrainedTokenizer",
    "Probe",
    "Problem",
    "Renormalise",
    "RenormaliseBoth",
    "ReverseKL",
    "Routed",
    "Run",
    "Sampled",
    "Scale",
    "Shape",
    "SizeLaw",
    "SkewKL",
    "Slice",
    "Smooth",
    "Source",
    "StandardLibrary",
    "Start",
    "Steady",
    "Study",
    "Sweep",
    "Tail",
    "Task",
    "Temperature",
    "TopPK",
    "TotalVariation",
    "TransformersConfig",
    "Until",
    "View",
    "WSDMix",
    "Weighted",
    "ZLoss",
    "arm",
    "axis",
    "results",
]  # fmt: skip


def results(study: str, scale: str | None = None, workspace: Path | str | None = None) -> pd.DataFrame:
    """One row per cell of a study, whatever its state; `analysis.load.load_runs` has the columns.

    Raises `ConfigError` where the study file has problems.
    """
    from pathlib import Path

    from analysis.load import load_runs
    from pdstudy.loading import checked_plan
    from pdstudy.record import make_record
    from pdstudy.rundir import Workspace

    where = Workspace.default() if workspace is None else Workspace(Path(workspace).resolve())
    return load_runs(where.root, make_record(checked_plan(study, scale, where)))
