"""Checkpoints of one run are no independent runs: the hint, and the coverage with and without clusters."""

import numpy as np
import pandas as pd
import pytest

from pdstudy.analysis.data.points import points
from pdstudy.analysis.fit.bootstrap import bootstrap
from pdstudy.analysis.fit.fit import fit
from pdstudy.analysis.laws import HOFFMANN
from pdstudy.analysis.summary import summary

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def checkpoints(seed: int = 0, per_size: int = 3, sizes: int = 8, steps: int = 10) -> pd.DataFrame:
    """Runs of several sizes and lengths, each evaluated `steps` times: an error per run, and a small one per row."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in np.geomspace(5e7, 1e10, sizes):
        for i in range(per_size):
            last = 10 ** rng.uniform(9.5, 11.5)
            d = last * np.arange(1, steps + 1) / steps
            loss = HOFFMANN.predict(TRUE, {"N": np.full(steps, n), "D": d}) * np.exp(rng.normal(0, 0.006))
            rows.append(pd.DataFrame({"run": f"{n:.2g}-{i}", "N": n, "D": d,
                                      "loss": loss * np.exp(rng.normal(0, 0.001, steps))}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def design(seed: int = 0) -> pd.DataFrame:
    """Separate runs: sizes by tokens, with the size's name and a seed."""
    n, d = np.meshgrid(np.geomspace(5e7, 1e10, 8), np.geomspace(1e9, 3e11, 6), indexing="ij")
    table = pd.DataFrame({"N": n.ravel(), "D": d.ravel(), "seed": np.arange(48) % 3})
    table["model"] = [f"{v:.2g}" for v in table["N"]]
    noise = np.random.default_rng(seed).normal(0, 0.006, 48)
    return table.assign(loss=HOFFMANN.predict(TRUE, table) * np.exp(noise))


def test_a_label_of_runs_is_named() -> None:
    table = checkpoints()
    (hint,) = points(table, HOFFMANN).warnings
    assert "rows that share 'run' differ in D alone" in hint
    assert "--cluster run" in hint
    assert points(table, HOFFMANN, cluster="run").warnings == ()
    assert f"warning: {hint}" in summary(fit(table, HOFFMANN))


def test_losses_that_fall_in_small_steps_are_a_hint_without_a_label() -> None:
    one_each = checkpoints(per_size=1).drop(columns="run")
    (hint,) = points(one_each, HOFFMANN).warnings
    assert "losses fall along D in small steps" in hint


@pytest.mark.parametrize(
    "columns", [["N", "D", "loss"], ["N", "D", "loss", "model"], ["N", "D", "loss", "model", "seed"]]
)
def test_a_design_of_separate_runs_gets_no_hint(columns: list[str]) -> None:
    assert points(design()[columns], HOFFMANN).warnings == ()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_coverage_with_clusters() -> None:
    """24 runs of 10 checkpoints, 100 replicates of 300 resamples: 95 % intervals with and without clusters."""
    hits: dict[str, list[bool]] = {"rows": [], "runs": []}
    for replicate in range(100):
        table = checkpoints(replicate)
        for name, cluster in (("rows", None), ("runs", "run")):
            found = bootstrap(fit(table, HOFFMANN, cluster=cluster), 300, seed=replicate)
            low, high = found.intervals()["alpha"]
            hits[name].append(low <= TRUE["alpha"] <= high)
    covered = {name: float(np.mean(values)) for name, values in hits.items()}
    print("coverage of alpha", covered)
    assert covered["rows"] < 0.75
    assert 0.88 <= covered["runs"] <= 0.99
