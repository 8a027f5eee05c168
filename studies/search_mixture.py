"""Which mixture of losses serves a small student best? Six fields, forty trials, the quickstart's corpus and teacher.

The data's own loss, forward and reverse KL and Jensen-Shannon share a simplex; the teacher's temperature, the ids kept
and the learning rate are searched beside it. Trials are trained for 80 steps, and for 160 when they are good enough.
"""

import dataclasses

from quickstart import HELDOUT, STEP, base, corpus

from pdstudy import KLD, LM, WSD, Heldout, JensenShannon, RenormaliseBoth, ReverseKL, Slice
from pdstudy.search.declare import TPE, Halving, Search
from pdstudy.search.space import Choice, Log, Simplex

TOKENS = 160 * STEP
MIXTURE = {"LM": LM(), "KL": KLD(), "reverse KL": ReverseKL(), "JSD": JensenShannon()}


def search(scale: str = "mini") -> Search:
    """Scales: `mini` (Wikipedia leads) and `offline` (Python's own sources)."""
    student, kd = base(corpus(scale))
    schedule = WSD(warmup_tokens=16 * STEP, decay_tokens=32 * STEP)
    # Renormalised on both sides every loss of the mixture is finite, at any temperature, on one store.
    objective = dataclasses.replace(kd, rest=RenormaliseBoth())
    return Search(
        name="search-mini" if scale == "mini" else f"search-{scale}",
        title="Which mixture of losses serves a small student best?",
        base=dataclasses.replace(student, objective=objective, schedule=schedule, tokens=TOKENS),
        space={
            "objective": Simplex(MIXTURE),
            "objective.temperature.tau": Log(0.5, 2.0),
            "objective.truncation.k": Choice({"10": 10, "25": 25, "50": 50}),
            "optimiser.lr": Log(2e-3, 1.6e-2),
        },
        validation=Heldout(data=Slice(split="validation", tokens=HELDOUT[0].data.tokens)),
        trials=40,
        sampler=TPE(),
        pruner=Halving((80 * STEP,), keep=1 / 3, band=0.03),
    )
