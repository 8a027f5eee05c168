"""Losses and their gradients: `fused_loss` in `fused` is the way in; `linear` and `bucketed` are its two kinds.

The formulas are in `divergences` (a divergence is added there and in `pdstudy.config.losses`), the teacher's side of
them, temperature included, in `targets`. Nothing here reads a store or runs a model.
"""
