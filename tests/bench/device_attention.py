"""flash-attn beside torch's own attention: the largest difference, and milliseconds forward and backward.

`packed`: eight documents in a row, which torch's own keeps apart by a mask and flash-attn by their ends.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.bench.device_setting import DEVICE, SMALL, rate, say

TOKENS, HEADS, WIDTH = (256, 2, 16) if SMALL else (8_192, 16, 64)
DOCUMENTS = 8


def torchs(q: Tensor, k: Tensor, v: Tensor, packed: bool) -> Tensor:
    heads = [x.transpose(0, 1)[None] for x in (q, k, v)]
    if not packed:
        return F.scaled_dot_product_attention(*heads, is_causal=True)[0].transpose(0, 1)
    document = torch.arange(TOKENS, device=DEVICE) // (TOKENS // DOCUMENTS)
    mask = (document[:, None] == document).tril()
    return F.scaled_dot_product_attention(*heads, attn_mask=mask)[0].transpose(0, 1)


def flash(q: Tensor, k: Tensor, v: Tensor, packed: bool) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    length = TOKENS // DOCUMENTS if packed else TOKENS
    ends = torch.arange(0, TOKENS + 1, length, dtype=torch.int32, device=DEVICE)
    out: Tensor = flash_attn_varlen_func(q, k, v, ends, ends, length, length, causal=True)
    return out


def milliseconds(attend: Callable[..., Tensor], inputs: list[Tensor], packed: bool) -> float:
    def step() -> None:
        attend(*inputs, packed).sum().backward()

    return 1000 * TOKENS / rate(step, TOKENS, 3 if SMALL else 20)


def main() -> None:
    torch.manual_seed(0)
    present = importlib.util.find_spec("flash_attn") is not None and DEVICE.type == "cuda"
    rows: list[dict[str, object]] = []
    for packed in (False, True):
        half = [torch.randn(TOKENS, HEADS, WIDTH, device=DEVICE).bfloat16().requires_grad_() for _ in range(3)]
        exact = torchs(*(x.detach().float() for x in half), packed)
        row: dict[str, object] = {"packed": packed}
        for name, attend in {"torch": torchs, **({"flash": flash} if present else {})}.items():
            row[f"{name}_error"] = float((attend(*half, packed).float() - exact).abs().max())
            row[f"{name}_ms"] = milliseconds(attend, half, packed)
        rows.append(row)
        say({"attention": rows, "flash_attn": present})


if __name__ == "__main__":
    main()
