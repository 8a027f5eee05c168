"""Softmax of the rows of a buffer: first the log-sum-exp of each row, then the gradient that losses make of it.

No loss here needs more of a vocabulary: log-sum-exps, and gradients that are multiples of the softmax and a few entries
more. On a CPU the exponentials stay in the buffer between the two; a CUDA device computes them twice and moves half as
many bytes (`kernels`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pdstudy.distill.loss import kernels
from pdstudy.distill.loss.narrow import NarrowGradient


class RowSoftmax:
    """The softmax of `buffer` [C, V], logits that nobody else may touch until `gradient` has been called.

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

    def gradient(
        self,
        share: Tensor,
        entries: Sequence[tuple[Tensor, Tensor]] = (),
        shift: Tensor | None = None,
        narrow: NarrowGradient | None = None,
    ) -> Tensor:
        """Overwrite the buffer by share * softmax + shift, plus entries; or fill `narrow`, and the buffer is waste.

        `share` and `shift` are [C]; an entry is (ids, values), both [C, K], whose values are added at ids of their row,
        as often as an id occurs. The softmax of rows of nothing but -inf is 0.
        """
        factor = (share[:, None].to(self._total.dtype) / self._total).where(self._total > 0, 0)
        if self._fused and narrow is not None:
            kernels.narrow_gradient(self._buffer, self._top, factor, shift, entries, narrow.buffer, narrow.scale)
            return narrow.buffer
        if self._fused:
            kernels.scale_exponentials(self._buffer, self._top, factor)
        else:
            self._buffer.mul_(factor)
        for ids, values in entries:
            self._buffer.scatter_add_(1, ids, values)
        if shift is not None:
            self._buffer.add_(shift[:, None])
        return self._buffer if narrow is None else narrow.fill(self._buffer)
