"""Statistics of a teacher's logits: kept entries, tails, entropy and draws, as a step or a store has them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdstudy.config.logits import Coverage
from pdstudy.config.truncation import TopPK
from pdstudy.distill.loss.capped import soft_capped
from pdstudy.distill.loss.chunk_size import STATISTICS_BYTES, size_for
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.truncate import mark_kept, rank


def summarise(logits: Tensor, targets: Tensor, coverage: Coverage, vocab: int, seed: int) -> SparseTargets:
    """Summarise raw logits [N, at least vocab], for target ids int64 [N], as kept entries and columns, in float32.

    Logits from `vocab` on are padding and count as minus infinity. `seed` decides the draws.
    """
    uniform = draw_uniforms(seed, len(logits), coverage)
    return _in_chunks(lambda part: logits[part, :vocab].float(), targets, coverage, vocab, uniform)


def summarise_states(
    states: Tensor, head: Tensor, targets: Tensor, coverage: Coverage, uniform: Tensor, cap: float | None = None
) -> SparseTargets:
    """Summarise the logits of last hidden states [N, H] under a head [vocab, H], a chunk of them at a time.

    Products are in the type of the states; `cap` is the soft cap of the logits. `uniform` are the numbers of
    `draw_uniforms` for these N positions.
    """
    return _in_chunks(
        lambda part: soft_capped((states[part] @ head.t()).float(), cap), targets, coverage, len(head), uniform
    )


def whole_signal(logits: Tensor, targets: Tensor, vocab: int, taus: tuple[float, ...] = ()) -> SparseTargets:
    """Make a signal of full distributions from raw logits [N, at least vocab], in numerical order of ids.

    `summarise` without a cut gives the same by rank: here nothing is sorted, and nothing can be cut afterwards.

    `targets` is int64 [N]; `gold` is meaningless where they are below 0. `taus`: of tails, which are all 0. A dozen
    bytes per token and id of the vocabulary: for few tokens at a time.
    """
    logits = logits[:, :vocab].float()
    normaliser = logits.logsumexp(1)
    log_probs = logits - normaliser[:, None]
    return SparseTargets(
        ids=torch.arange(vocab, device=logits.device).expand_as(logits),
        log_probs=log_probs,
        tail=torch.zeros_like(normaliser),
        gold=log_probs.gather(1, targets.clamp(min=0)[:, None])[:, 0],
        log_normaliser=normaliser,
        entropy=-torch.linalg.vecdot(log_probs.exp(), log_probs),
        std=logits.std(1, correction=0),
        tempered=logits.new_zeros(len(logits), len(taus)),
        taus=taus,
    )


def draw_uniforms(seed: int, tokens: int, coverage: Coverage) -> Tensor:
    """Draw the uniform numbers that decide a sequence's draws, float64 [tokens, draws], on the CPU."""
    return torch.rand(tokens, coverage.draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _in_chunks(
    logits: Callable[[slice], Tensor], targets: Tensor, coverage: Coverage, vocab: int, uniform: Tensor
) -> SparseTargets:
    rows = max(1, size_for(STATISTICS_BYTES, targets.device) // (4 * vocab))
    parts = [slice(at, at + rows) for at in range(0, len(targets), rows)]
    return SparseTargets.concatenate([_summarise(logits(p), targets[p], coverage, uniform[p]) for p in parts])


def _summarise(logits: Tensor, targets: Tensor, coverage: Coverage, uniform: Tensor) -> SparseTargets:
    vocab = logits.shape[1]
    top = logits.amax(1, keepdim=True)
    probs = (logits - top).exp_()
    total = probs.sum(1, keepdim=True)
    normaliser = top + total.log()
    probs /= total
    log_probs = logits - normaliser
    ids, values = rank(log_probs, vocab if coverage.k is None else min(coverage.k, vocab))
    mask = mark_kept(values, TopPK(p=coverage.p, k=coverage.k))
    width = int(mask.sum(1).max())
    ids, values, mask = ids[:, :width], values[:, :width], mask[:, :width]
    gold = log_probs.gather(1, targets[:, None])[:, 0]
    entropy = -torch.linalg.vecdot(probs, log_probs)
    std = torch.linalg.vector_norm(logits - logits.mean(1, keepdim=True), dim=1) / vocab**0.5
    drawn = _draw(log_probs, probs, coverage, uniform) if coverage.draws else (None, None)
    # Summed over what is outside, not 1 - the inside: a small tail keeps its digits. Unused places repeat the first.
    used = ids.where(mask, ids[:, :1])
    tail = probs.scatter_(1, used, 0).sum(1)
    tempered = None
    if coverage.taus:
        outside = log_probs.scatter(1, used, -torch.inf)
        tempered = torch.stack([(outside / tau).exp().sum(1) for tau in coverage.taus], 1)
    return SparseTargets(
        ids.where(mask, 0),
        values.where(mask, -torch.inf),
        tail,
        gold,
        normaliser[:, 0],
        entropy,
        std,
        tempered,
        coverage.taus,
        *drawn,
    )


def _draw(log_probs: Tensor, probs: Tensor, coverage: Coverage, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw ids [N, draws] with replacement from p^exponent; also p / proposal of each."""
    proposal = probs.double() if coverage.exponent == 1 else (coverage.exponent * log_probs.double()).exp()
    mass = proposal.cumsum(1)
    uniform = uniform.to(mass.device)
    # The last entry with mass, for a uniform number that rounds to 1.
    ids = torch.searchsorted(mass, uniform * mass[:, -1:], right=True).clamp(max=probs.shape[1] - 1)
    weights = probs.gather(1, ids).double() * mass[:, -1:] / proposal.gather(1, ids)
    return ids, (weights if coverage.exponent != 1 else torch.ones_like(weights)).float()
