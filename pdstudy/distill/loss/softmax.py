"""Softmax of the rows of a buffer, in place: first the log-sum-exp of each row, then its softmax times a weight.

No loss here needs more of a vocabulary: log-sum-exps, and gradients that are multiples of the softmax. On a CPU the
exponentials stay in the buffer between the two; a CUDA device computes them twice and reads the buffer half as often
(`kernels`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdstudy.distill.loss import kernels


class RowSoftmax:
    """The softmax of `buffer` [C, V], logits that nobody else may touch until `weigh` has been called.

    `log_sum` is [C]: -inf where a row holds nothing else.
    """

    def __init__(self, buffer: Tensor) -> None:
        self._buffer = buffer
        self._fused = kernels.can_use(buffer)
        if self._fused:
            self._top, self._total = kernels.row_sums(buffer)
        else:
            self._top = buffer.amax(1, keepdim=True).clamp(min=torch.finfo(buffer.dtype).min)
            self._total = buffer.sub_(self._top).exp_().sum(1, keepdim=True)
        self.log_sum = (self._top + self._total.log())[:, 0]

    def weigh(self, share: Tensor) -> Tensor:
        """Overwrite the buffer by share times softmax, `share` [C]; 0 in rows of nothing but -inf."""
        factor = (share[:, None].to(self._total.dtype) / self._total).where(self._total > 0, 0)
        if self._fused:
            return kernels.scale_exponentials(self._buffer, self._top, factor)
        return self._buffer.mul_(factor)
