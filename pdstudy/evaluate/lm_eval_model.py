"""lm-eval's model of a transformers folder, also for prompts longer than the model's context. Needs lm-eval."""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn.functional import pad

Request = tuple[Any, list[int], list[int]]
"""lm-eval's own handle, the ids of the prompt, and those of the answer."""


class ShortContextLM(HFLM):
    """lm-eval's model, which scores answers longer than the context in pieces (lm-eval fails on them).

    Prompts begin with the token `bos` alone, unless it is cut off with the beginning of the prompt. Where the context
    is short, at most half of it is generated. `requests` and `cut` count, since they were set to 0,
    the prompts with their answers, and those whose beginning did not fit and was left out by lm-eval.
    """

    requests = 0
    cut = 0

    def __init__(self, *, bos: str | None = None, **settings: Any) -> None:
        super().__init__(add_bos_token=False, **settings)
        self._bos: int | None = None
        if bos is not None:
            self._bos = self.custom_prefix_token_id = self.tokenizer.convert_tokens_to_ids(bos)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        owners, pieces = [], []
        for number, (texts, prompt, answer) in enumerate(requests):
            size = len(answer) if len(answer) <= self.max_length else self.max_length // 2
            self.cut += len(prompt) + len(answer) > self.max_length + 1
            # Windows of a longer text come without texts; the first of them has it.
            if self._bos is not None and texts is not None and prompt[:1] != [self._bos]:
                prompt = [self._bos, *prompt]
            for start in range(0, len(answer), size):
                piece = answer[start : start + size]
                # The last id is read by nobody, so that one more than the context fits.
                before = (prompt + answer[:start])[-(self.max_length + 1 - len(piece)) :]
                owners.append(number)
                pieces.append((texts, before, piece))
            self.requests += 1
        likelihoods, greedy = [0.0] * len(requests), [True] * len(requests)
        scored = super()._loglikelihood_tokens(pieces, disable_tqdm=disable_tqdm, override_bs=override_bs)
        for number, (likelihood, is_greedy) in zip(owners, scored, strict=True):
            likelihoods[number] += likelihood
            greedy[number] &= is_greedy
        return list(zip(likelihoods, greedy, strict=True))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        for request in requests:
            prompt, options = request.arguments
            longest = min(options.get("max_gen_toks", self.max_gen_toks), self.max_length // 2)
            request.arguments = (prompt, {**options, "max_gen_toks": longest})
            self.requests += 1
            self.cut += len(self.tok_encode(prompt)) > self.max_length - longest
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts of `generate_until`, padded on the left: ids and mask, int64 [B, T]."""
        ids, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
        if self._bos is not None:
            ids, mask = pad(ids, (1, 0)), pad(mask, (1, 0))
            rows, before = torch.arange(len(ids)), mask.argmax(1) - 1
            ids[rows, before], mask[rows, before] = self._bos, 1
        keep = -(left_truncate_len or ids.shape[1])
        return ids[:, keep:], mask[:, keep:]
