"""Studies of pre-training distillation: declared in Python, priced, run here or on SLURM, analysed, reported.

A study file defines `study(scale) -> Study` with the names below, each a small frozen class whose docstring has its
formula, its units and its source: `help(pdstudy.KD)` shows one (below, all follow by module). The map, by topic:

    a study         Study, Grid, axis, arm: a base run, a grid of changes to it, seeds, a baseline
    a run           Run: student, corpus, slice, view, objective, optimiser, schedule, budget, seed
    models          Shape, MuP, TransformersConfig (students); Run, Pretrained, Online (teachers); Start (initial
                    weights)
    text            Corpus of LocalFiles, Packaged, HubDataset, StandardLibrary, ENGLISH, Tokenised, or a Mixture
                    (each a Source); BPE, PretrainedTokenizer; Slice, View; Instructions of LocalExamples, Definitions
    the objective   LM, KD: L = (1 - alpha) L_lm + alpha L_kd
      truncation    TopPK, Sampled; the mass left over: Renormalise, RenormaliseBoth, Tail, OntoGold, Plain, Smooth,
                    Decoupled
      temperature   Temperature, NormKD, WTTM, Adaptive
      divergence    NLL, KLD, ReverseKL, JensenShannon, SkewKL, SkewReverseKL, TotalVariation, MSE, ZLoss,
                    Weighted
      alpha         over training: LinearMix, CosineMix, PeriodicMix, WSDMix, OnData, Until, Steady;
                    over tokens: ByEntropy, ByConfidence, Routed
    optimisation    AdamW; Cosine, WSD
    evaluation      Heldout, Probe, HeldoutResponses; Downstream of Task, PackagedItems, ItemFile (OFFLINE_SUITE,
                    PAPER_SUITE); Finetuning
    stores          Capture, Coverage, Kept
    a machine       Placement, Execution, Machine (CPU_CORE, H100)
    a report        Compare, Curves, Sweep, SizeLaw, LossByTokens, Cost, BesidePaper, PaperTable, GainAndKept,
                    GainBySize, GainDifferences, NoiseFloor
    scaling laws    JointLaw, IsoFlop, ComputeOptimal, DistillationLaw, DistilOrTrain, HoldOut, TransferCheck

`results(study)` is a table of runs; `curves(study)` and `figures(study)` show themselves in a notebook.
`pdstudy.search` declares searches; `pdstudy.analysis` fits laws and draws figures from any table. Importing pdstudy
imports neither torch nor pandas. The README begins with an example; pdstudy/README.md is the map of the packages.
"""

# ruff: noqa: I001 (by topic, not by module)

from __future__ import annotations

# A study
from pdstudy.study.study import Study as Study
from pdstudy.study.grid import Grid as Grid, arm as arm, axis as axis

# A run
from pdstudy.config.run import (
    KD as KD,
    LM as LM,
    Online as Online,
    Pretrained as Pretrained,
    Run as Run,
    Start as Start,
)
from pdstudy.config.model import MuP as MuP, Shape as Shape, TransformersConfig as TransformersConfig

# Text
from pdstudy.config.data import (
    BPE as BPE,
    Corpus as Corpus,
    Mixture as Mixture,
    PretrainedTokenizer as PretrainedTokenizer,
    Slice as Slice,
    Source as Source,
    View as View,
)
from pdstudy.config.text_sources import (
    ENGLISH as ENGLISH,
    HubDataset as HubDataset,
    LocalFiles as LocalFiles,
    Packaged as Packaged,
    StandardLibrary as StandardLibrary,
)
from pdstudy.config.tokenised import Tokenised as Tokenised
from pdstudy.config.instructions import (
    Definitions as Definitions,
    Instructions as Instructions,
    LocalExamples as LocalExamples,
)

# The objective: truncation and what is left over, temperature, divergence
from pdstudy.config.truncation import Sampled as Sampled, TopPK as TopPK
from pdstudy.config.losses import (
    Decoupled as Decoupled,
    OntoGold as OntoGold,
    Plain as Plain,
    Renormalise as Renormalise,
    RenormaliseBoth as RenormaliseBoth,
    Smooth as Smooth,
    Tail as Tail,
)
from pdstudy.config.losses import Adaptive as Adaptive, NormKD as NormKD, Temperature as Temperature, WTTM as WTTM
from pdstudy.config.losses import (
    KLD as KLD,
    MSE as MSE,
    NLL as NLL,
    JensenShannon as JensenShannon,
    ReverseKL as ReverseKL,
    SkewKL as SkewKL,
    SkewReverseKL as SkewReverseKL,
    TotalVariation as TotalVariation,
    Weighted as Weighted,
    ZLoss as ZLoss,
)

# Alpha over training, and over tokens
from pdstudy.config.alpha import (
    CosineMix as CosineMix,
    LinearMix as LinearMix,
    OnData as OnData,
    PeriodicMix as PeriodicMix,
    Steady as Steady,
    Until as Until,
    WSDMix as WSDMix,
)
from pdstudy.config.alpha import ByConfidence as ByConfidence, ByEntropy as ByEntropy, Routed as Routed

# Optimisation
from pdstudy.config.optimizer import WSD as WSD, AdamW as AdamW, Cosine as Cosine

# Evaluation
from pdstudy.config.evaluation import Heldout as Heldout, HeldoutResponses as HeldoutResponses, Probe as Probe
from pdstudy.config.downstream import (
    OFFLINE_SUITE as OFFLINE_SUITE,
    PAPER_SUITE as PAPER_SUITE,
    Downstream as Downstream,
    ItemFile as ItemFile,
    PackagedItems as PackagedItems,
    Task as Task,
)
from pdstudy.config.finetuning import Finetuning as Finetuning

# Stores of logits
from pdstudy.config.logits import Capture as Capture, Coverage as Coverage, Kept as Kept

# A machine
from pdstudy.config.placement import (
    CPU_CORE as CPU_CORE,
    H100 as H100,
    Execution as Execution,
    Machine as Machine,
    Placement as Placement,
)

# A report
from pdstudy.config.outputs import (
    BesidePaper as BesidePaper,
    Compare as Compare,
    Cost as Cost,
    Curves as Curves,
    GainAndKept as GainAndKept,
    GainBySize as GainBySize,
    GainDifferences as GainDifferences,
    LossByTokens as LossByTokens,
    NoiseFloor as NoiseFloor,
    PaperTable as PaperTable,
    SizeLaw as SizeLaw,
    Sweep as Sweep,
)
from pdstudy.config.declared_laws import (
    ComputeOptimal as ComputeOptimal,
    DistillationLaw as DistillationLaw,
    DistilOrTrain as DistilOrTrain,
    HoldOut as HoldOut,
    IsoFlop as IsoFlop,
    JointLaw as JointLaw,
    TransferCheck as TransferCheck,
)
from pdstudy.results import curves as curves, figures as figures, results as results

# What is raised
from pdstudy.core.errors import ConfigError as ConfigError
from pdstudy.core.validation import Problem as Problem

# `from pdstudy import *` gives the names above, not the packages that importing them has brought in.
__all__ = [
    name for name, value in globals().items() if name[0] != "_" and type(value).__name__ not in ("module", "_Feature")
]
