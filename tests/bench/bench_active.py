# ruff: noqa: E402
"""Choice of runs for a target, against the active selection of Li et al. 2026 (arXiv 2604.22753) on their pools.

`python tests/bench/bench_active.py FOLDER [--laws 2] [--repeats 1] [--pools farseer,sparsity,data_constrained]`, FOLDER
being a checkout of github PlanarG/active-sl, whose code is imported as it is: its method (`mspe.py`), its pools of
published runs, its laws with their bounds. On each pool, for each law and group, by the share of the pool's FLOPs that
is spent: rms error of ln loss over the target region, R2 as they have it, and for ours the share of target runs inside
the 95 % intervals. Three methods in one process:

- theirs: one trajectory, 64 starts for each fit, as published;
- ours: the law and its misfit learned from the runs so far (`learn`), then the runs within what is left of the
  checkpoint's budget that lower the variance of the target losses most (`choose_runs`), of which the cheapest are made
  up to a quarter of that, and so on;
- D-optimal: the same, but the runs are those that tell most of the law's coefficients.

All begin with their choice of the cheapest runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from scipy import stats

from pdstudy.analysis.design.choose_runs import choose_runs
from pdstudy.analysis.design.design_targets import LossAt
from pdstudy.analysis.design.information import Posterior, jacobian, weak_prior
from pdstudy.analysis.design.learned_law import learn
from pdstudy.analysis.design.run_prices import RunPrices
from pdstudy.analysis.laws.base import Array, Columns, Law, Parameter

SHARES = (0.01, 0.05, 0.1)
"""Their checkpoints where a task has none of its own."""

AT_ONCE = 0.25
"""Share of what is left of a budget that is spent before the law is learned anew (no unit)."""

STARTS = 512


class PoolLaw(Law):
    """One of their laws: a function of parameters within bounds that gives losses and derivatives."""

    rugged = True
    formula = source = ""

    def __init__(self, task: Any, seed: int) -> None:
        self.name, self._model, self._seed = task.sl_id, task.model_fn, seed
        self.columns = tuple(f"x{i}" for i in range(task.groups[0].X_train.shape[1]))
        made = []
        for j, (low, high) in enumerate(task.param_bounds):
            span = np.log(high / low) if low > 0 else high - low
            made.append(Parameter(f"p{j}", f"p_{j}", low > 0, low, high, resolution=float(span) / 4))
        self.parameters = tuple(made)

    def log_loss(self, theta: Array, x: Columns) -> tuple[Array, list[Array]]:
        own = self.natural(theta)
        loss, slopes = self._model(own, np.stack([x[c] for c in self.columns], axis=1))
        loss, slopes = (loss[None], slopes[None]) if len(own) == 1 else (loss, slopes)
        loss = np.maximum(loss, 1e-12)
        unit = np.where([p.log for p in self.parameters], own, 1.0)
        return np.log(loss), [slopes[..., j] * unit[:, j, None] / loss for j in range(len(self.parameters))]

    def starts(self, x: Columns, loss: Array) -> Array:
        low, high = self.bounds()
        return low + (high - low) * np.random.default_rng(self._seed).random((STARTS, len(low)))


def columns(law: Law, x: Array) -> Columns:
    """Their table as columns; a zero is taken as a small share, since places are logarithms."""
    return {c: np.maximum(x[:, i], 1e-9) for i, c in enumerate(law.columns)}


def ours(task: Any, group: Any, shares: tuple[float, ...], seed: int, *, for_targets: bool) -> list[dict[str, float]]:
    """One trajectory over a pool: a row per share of its price."""
    law, price = PoolLaw(task, seed), group.cost_train
    pool, wanted = columns(law, group.X_train), columns(law, group.X_test)
    targets = [LossAt({c: float(v[i]) for c, v in wanted.items()}) for i in range(len(group.X_test))]
    log_loss = np.log(group.y_train)
    low, high = law.bounds()
    centre = 0.5 * (low + high)
    made = begin(price, int(2.5 * len(low)))

    def learned() -> Posterior:
        x = {c: v[made] for c, v in pool.items()}
        return learn(law, centre, x, log_loss[made], [wanted, pool], law.starts(x, group.y_train[made]))

    rows = []
    for share in shares:
        while left := [
            i for i in np.setdiff1d(np.arange(len(price)), made) if price[i] <= share * price.sum() - price[made].sum()
        ]:
            budget = share * price.sum() - price[made].sum()
            told, there = learned(), {c: v[left] for c, v in pool.items()}
            if for_targets:
                known, steps, slopes = told.precision, told.scaled(there), told.slopes(targets)
            else:
                tried = {c: v[made] for c, v in pool.items()}
                steps, before = (jacobian(law, told.theta, x) / told.noise for x in (there, tried))
                known, slopes = weak_prior(law, centre) + before.T @ before, None
            choice = choose_runs(known, steps, RunPrices.apart(price[left]), budget, slopes)
            if not choice.chosen:
                break
            order = sorted((left[i] for i in choice.chosen), key=lambda i: price[i])
            spent = np.cumsum(price[order])
            made += order[: max(1, int(np.sum(spent <= AT_ONCE * budget)))]
        told = learned()
        found = np.array([told.estimate(target) for target in targets])
        noisy = np.sqrt(np.array([told.error(target) for target in targets]) ** 2 + told.noise**2)
        inside = np.abs(np.log(group.y_test) - found) <= stats.t.ppf(0.975, told.dof) * noisy
        rows.append(score(np.exp(found), group.y_test) | {"cover": float(inside.mean()), "runs": float(len(made))})
    return rows


def begin(price: Array, count: int) -> list[int]:
    """The cheapest runs, up to 2 % of the pool's price, as theirs begins."""
    made: list[int] = []
    for i in np.argsort(price):
        if len(made) < count and (not made or price[made].sum() + price[i] <= 0.02 * price.sum()):
            made.append(int(i))
    return made


def theirs(method: Any, task: Any, number: int, shares: tuple[float, ...], seed: int) -> list[dict[str, float]]:
    """Their method on the same pool, by their code."""
    method.N_WORKERS, method.CHECKPOINTS = 1, list(shares)
    method.setup_task(task, number)
    found = method.run_one(seed, verbose=False)
    group = task.groups[number]
    return [score(np.asarray(task.model_fn(found[share], group.X_test)[0]), group.y_test) for share in shares]


def score(predicted: Array, measured: Array) -> dict[str, float]:
    """Rms of log errors, and R2 within -1 to 1."""
    rest = float(np.sum((predicted - measured) ** 2) / np.sum((measured - measured.mean()) ** 2))
    errors = np.log(np.maximum(predicted, 1e-12) / measured)
    return {"rms": float(np.sqrt(np.mean(errors**2))), "r2": max(1 - rest, -1.0)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pools", default="farseer,sparsity,data_constrained")
    parser.add_argument("--laws", type=int, default=2, help="the first so many laws of a pool")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--without", action="store_true", help="leave their method out")
    args = parser.parse_args()
    if not (args.folder / "mspe.py").is_file():
        print(f"skipped: {args.folder} is no checkout of PlanarG/active-sl (no mspe.py in it)")
        return 0
    sys.path.insert(0, str(args.folder.resolve()))
    sys.argv = sys.argv[:1]  # theirs reads it when it is imported
    method, tasks = import_module("mspe"), import_module("benchmark.task")
    all_rows: dict[tuple[str, float, str], list[dict[str, float]]] = {}
    for pool in args.pools.split(","):
        for task in tasks.load_tasks_for_dataset(f"{pool}_scaling_law")[: args.laws]:
            shares = tuple(task.budget_checkpoints or SHARES)
            for number, group in enumerate(task.groups):
                for seed in range(42, 42 + args.repeats):
                    found, seconds = {}, {}
                    for name in ("ours", "D-optimal", *(() if args.without else ("theirs",))):
                        clock = time.process_time()
                        found[name] = (
                            theirs(method, task, number, shares, seed) if name == "theirs" else
                            ours(task, group, shares, seed, for_targets=name == "ours")
                        )  # fmt: skip
                        seconds[name] = time.process_time() - clock
                    for name, rows in found.items():
                        for share, row in zip(shares, rows, strict=True):
                            all_rows.setdefault((pool, share, name), []).append(row)
                    shown = "; ".join(
                        f"{name} ({seconds[name]:.0f} s) " + " ".join(f"{100 * row['rms']:.2f}" for row in rows)
                        for name, rows in found.items()
                    )
                    print(f"{pool} {task.sl_id} {group.group} seed {seed}: rms % {shown}", flush=True)
    print("\npool              share  method     rms % (median)  R2 (mean)  cover  runs")
    for (pool, share, name), rows in all_rows.items():
        mean = {key: float(np.mean([row.get(key, np.nan) for row in rows])) for key in ("r2", "cover", "runs")}
        median = 100 * float(np.median([row["rms"] for row in rows]))
        cells = f"{median:<15.3f} {mean['r2']:<10.3f} {mean['cover']:<6.2f} {mean['runs']:.0f}"
        print(f"{pool:<17} {share:<6} {name:<10} {cells}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
