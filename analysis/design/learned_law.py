"""A law learned with its misfit from whatever runs there are, few ones too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from pdstudy.analysis.design.information import Posterior, jacobian, weak_prior
from pdstudy.analysis.design.misfit import Misfit, correlation
from pdstudy.analysis.laws.base import Array, Columns, Law

LENGTHS = (0.5, 1.0, 2.0)
"""Lengths of correlation that are tried, in standard deviations of the logarithm of each column (no unit)."""

NOISES = np.geomspace(5e-4, 5e-2, 9)
MISFITS = np.array([1e-6, *np.geomspace(1e-3, 1e-1, 7)])
"""Standard deviations of ln loss that are tried, of the noise of one run and of the misfit (no unit)."""

USUAL, WIDTH = 0.006, 1.2
"""Prior of both, before any run: a median, and the standard deviation of the logarithm (no unit)."""

SQUARES = 20.0
"""A Huber threshold over the noise that no residual reaches: least squares (no unit)."""

POLISHED = 4
"""Starts that are minimised, of all whose objective is evaluated."""


def learn(
    law: Law, centre: Array, x: Columns, log_loss: Array, around: Sequence[Columns], starts: Array | None = None
) -> Posterior:
    """A law with its misfit as runs leave them: coefficients, noise, and size and length of the misfit, by their joint
    likelihood; few runs are enough, since what they leave open stays as `weak_prior` has it.

    Args:
        centre: parameters (k,) in fitted form about which the prior is. x, log_loss: the runs. around: places where
            the misfit matters, beside those of the runs. starts: further parameters (S, k) to begin from.
    """
    x = {c: x[c] for c in law.columns}
    prior = weak_prior(law, centre)
    begin = centre[None, :] if starts is None else np.concatenate([centre[None, :], starts])
    misfit, noise = Misfit.over([*({c: p[c] for c in law.columns} for p in around), x], USUAL, LENGTHS[1]), USUAL
    theta = centre
    for _ in range(2):
        theta = _most_probable(law, centre, prior, x, log_loss, misfit, noise, begin)
        slopes = jacobian(law, theta, x)
        rest = log_loss - law.log_loss(theta[None, :], x)[0][0]
        misfit, noise = _most_likely(misfit, x, rest + slopes @ (theta - centre), slopes / np.sqrt(np.diag(prior)))
        begin = theta[None, :]
    features = misfit.features(x)
    count = features.shape[1]
    precision = np.zeros((len(theta) + count,) * 2)
    precision[: len(theta), : len(theta)], precision[len(theta) :, len(theta) :] = prior, np.eye(count)
    dof = max(len(log_loss) - len(theta), 1)
    start = Posterior(law, theta, precision, noise, dof, SQUARES, misfit, np.zeros(count))
    told = start.after(x)
    pull = np.concatenate([prior @ (centre - theta), np.zeros(count)]) + start.scaled(x).T @ rest / noise
    weights = (told.covariance @ pull)[len(theta) :]
    return replace(told, weights=weights)


def _most_probable(
    law: Law, centre: Array, prior: Array, x: Columns, log_loss: Array, misfit: Misfit, noise: float, begin: Array
) -> Array:
    """The parameters of highest posterior density, the misfit averaged over: least squares of whitened residuals."""
    places = misfit.places(x)
    spread = misfit.size**2 * correlation(places, places, misfit.length) + noise**2 * np.eye(len(places))
    whitening = np.linalg.inv(np.linalg.cholesky(spread))
    root = np.sqrt(np.diag(prior))
    low, high = law.bounds()

    def residuals(theta: Array) -> Array:
        with np.errstate(all="ignore"):
            value = law.log_loss(theta[None, :], x)[0][0] - log_loss
        return np.nan_to_num(np.concatenate([whitening @ value, root * (theta - centre)]), nan=1e6)

    def slopes(theta: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.concatenate([whitening @ jacobian(law, theta, x), np.diag(root)]))

    inside = np.clip(begin, low + 1e-9, high - 1e-9)
    scores = np.array([np.sum(residuals(theta) ** 2) for theta in inside])
    best = np.argsort(scores, kind="stable")[:POLISHED]
    found = [least_squares(residuals, inside[i], slopes, bounds=(low, high), x_scale=1 / root, max_nfev=60)
             for i in best]  # fmt: skip
    return np.asarray(min(found, key=lambda each: float(each.cost)).x)


def _most_likely(misfit: Misfit, x: Columns, rest: Array, slopes: Array) -> tuple[Misfit, float]:
    """Size and length of the misfit, and the noise, of highest posterior density given residuals `rest` (n,), with the
    parameters averaged over, whose `slopes` are in units of their prior (n, k)."""
    places = misfit.places(x)
    best = (np.inf, misfit, USUAL)
    for length in LENGTHS:
        values, vectors = np.linalg.eigh(correlation(places, places, length))
        turned, steep = vectors.T @ rest, vectors.T @ slopes
        for noise in NOISES:
            for size in MISFITS:
                spread = size**2 * np.maximum(values, 0.0) + noise**2
                told, basis = np.linalg.eigh(steep.T @ (steep / spread[:, None]))
                told = 1 + np.maximum(told, 0.0)
                along = basis.T @ (steep.T @ (turned / spread))
                doubt = np.log(np.array([noise, max(size, MISFITS[1])]) / USUAL) / WIDTH
                value = np.sum(turned**2 / spread) - np.sum(along**2 / told) + np.log(spread).sum() + np.log(told).sum()
                value = 0.5 * float(value + doubt @ doubt)
                if value < best[0]:
                    best = (value, replace(misfit, size=float(size), length=length), float(noise))
    return best[1], best[2]
