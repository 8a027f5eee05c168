"""Variable projection: the coefficients that are best, in closed form, for given exponents."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

from pdstudy.analysis.laws.base import Array


def grid(*axes: Array) -> Array:
    """Every combination of the axes' values, one row each."""
    return np.array(list(product(*axes)), dtype=np.float64)


def coefficients(basis: Array, target: Array, weights: Array) -> Array:
    """Non-negative least squares for many small problems at once.

    Minimises sum_i w_i^2 (sum_j c_j basis_ij - target_i)^2 for each of G problems over c >= 0. With at most five terms
    every subset of active ones is solved in closed form and the best feasible one kept, which is exact.

    Args:
        basis: (G, n, K). target, weights: broadcastable to (G, n).

    Returns:
        (G, K), zeros where a coefficient is not active.
    """
    problems, _, terms = basis.shape
    scaled = basis * weights[..., None]
    aim = np.broadcast_to(target * weights, basis.shape[:2])
    gram = np.einsum("gnk,gnl->gkl", scaled, scaled)
    right = np.einsum("gnk,gn->gk", scaled, aim)
    # Terms differ by many powers of ten; a unit diagonal keeps the small solves accurate.
    unit = 1.0 / np.sqrt(np.maximum(np.einsum("gkk->gk", gram), 1e-300))
    gram = gram * unit[:, :, None] * unit[:, None, :]
    right = right * unit
    best = np.zeros((problems, terms))
    gain = np.zeros(problems)
    for size in range(1, terms + 1):
        for active in combinations(range(terms), size):
            index = list(active)
            part = gram[:, index][:, :, index] + 1e-13 * np.eye(size)
            solved = np.linalg.solve(part, right[:, index][..., None])[..., 0]
            # The drop of the squared error by these terms; only non-negative solutions compete.
            drop = np.einsum("gk,gk->g", solved, right[:, index])
            better = (solved.min(axis=1) >= 0) & (drop > gain)
            best[better] = 0.0
            best[np.ix_(better, index)] = solved[better]
            gain[better] = drop[better]
    return best * unit
