"""The gradient of a chunk of logits in 16 bits, as matrix products of a CUDA device take it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdstudy.distill.loss import kernels


@dataclass(frozen=True)
class NarrowGradient:
    """Where a chunk's gradient goes once it is whole in float32: rounded once, times `scale`, into `buffer` [C, V]."""

    buffer: Tensor
    scale: float

    def fill(self, gradient: Tensor) -> Tensor:
        """Round a gradient that lies in float32."""
        if kernels.can_use(gradient):
            return kernels.scale_to_half(gradient, self.buffer, self.scale)
        return torch.mul(gradient, self.scale, out=self.buffer)
