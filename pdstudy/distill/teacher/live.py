"""A live teacher, run inside the training step: no store, at the price of its forward pass in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdstudy.config.logits import Coverage, required_coverage
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK, Truncation
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.head import head_states, head_weight, soft_cap
from pdstudy.distill.loss.capped import soft_capped
from pdstudy.distill.micro_batch import MicroBatch
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.teacher.load import load_teacher, place_whole
from pdstudy.distill.teacher.peers import LayOut
from pdstudy.distill.teacher.statistics import draw_uniforms, summarise_states, whole_signal
from pdstudy.distill.teacher.weights import check_finite
from pdstudy.distill.truncate import cut

UNCUT = TopPK(p=1, k=None)
"""The truncation that keeps everything, so that nothing is ranked: sorting a vocabulary takes longer than all the rest
of a step."""


@dataclass(frozen=True)
class LiveTargets:
    """The signal of a store for N positions, computed chunk by chunk as it is read: never tokens x vocabulary.

    `states` [N, H] are the teacher's last hidden states and `head` [vocab, H] its output head, both in its own type
    and as `pdstudy.distill.head` has them, with the soft cap `cap`;
    `targets` int64 [N] (any negative id where nothing counts); `uniform` float64 [N, draws] decides draws.
    """

    states: Tensor
    head: Tensor
    targets: Tensor
    uniform: Tensor
    coverage: Coverage
    truncation: Truncation
    cap: float | None = None

    @property
    def width(self) -> int:
        """Entries that a row keeps at most."""
        kept = self.truncation.draws if isinstance(self.truncation, Sampled) else self.truncation.k
        return len(self.head) if kept is None else min(kept, len(self.head))

    def rows(self, part: slice) -> SparseTargets:
        """The signal of a range of positions."""
        targets = self.targets[part].clamp(min=0)
        if self.truncation == UNCUT:
            logits = soft_capped((self.states[part] @ self.head.t()).float(), self.cap)
            return whole_signal(logits, targets, len(self.head), self.coverage.taus)
        found = summarise_states(self.states[part], self.head, targets, self.coverage, self.uniform[part], self.cap)
        return cut(found, self.truncation)


class LiveTeacher:
    """The teacher of a run, without gradients. Raises `ConfigError` where it does not fit the corpus or the view.

    `lay_out` may shard the trunk. The head is kept whole here, because every chunk needs it.
    """

    def __init__(self, folder: Path, run: Run, corpus: TokenCorpus, lay_out: LayOut = place_whole) -> None:
        assert isinstance(run.objective, KD)
        if run.view.documents != "cross":
            raise ConfigError("view.documents: found 'respect'; allowed for a teacher: 'cross'")
        teacher = run.objective.teacher
        self._folder = folder
        dtype = getattr(torch, teacher.dtype) if isinstance(teacher, Pretrained) else torch.float32
        self.model = load_teacher(folder, corpus, run.view.context, dtype, lay_out)
        self._head = head_weight(self.model)[: corpus.vocab].detach().clone()
        self._cap = soft_cap(self.model.config)
        if not self._head.isfinite().all():
            raise ConfigError(f"the teacher {folder} has an output head that is not all numbers; take another one")
        self._refuse_other_logits()
        self.wrong = torch.zeros((), dtype=torch.bool, device=self._head.device)
        """Whether any hidden state was not a number so far; on the device, so that a step need not wait for it."""
        self._coverage, self._truncation = required_coverage(run.objective), run.objective.truncation

    @torch.no_grad()
    def signal(self, batch: MicroBatch) -> LiveTargets:
        """Compute the teacher's signal for a micro-batch that is on the device."""
        assert batch.sequences is not None
        states = self._states(batch.inputs).flatten(0, 1)
        self.wrong |= ~states.isfinite().all()
        # Draws depend on the sequence alone, so that they are those of a capture.
        context = batch.inputs.shape[1]
        uniform = torch.cat([draw_uniforms(sequence, context, self._coverage) for sequence in batch.sequences.tolist()])
        return LiveTargets(states, self._head, batch.targets, uniform, self._coverage, self._truncation, self._cap)

    @torch.no_grad()
    def check_finite(self, batch: MicroBatch) -> None:
        """Raise `ConfigError` where the teacher's logits for a micro-batch are not all numbers."""
        assert batch.sequences is not None
        for row, sequence in zip(self._states(batch.inputs), batch.sequences.tolist(), strict=True):
            check_finite((row @ self._head.t())[None], self._folder, [sequence])

    def _states(self, inputs: Tensor) -> Tensor:
        """Last hidden states as the head's weight multiplies them."""
        states: Tensor = self.model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        return head_states(self.model, states)

    @torch.no_grad()
    def _refuse_other_logits(self) -> None:
        head = self._head
        probe = torch.arange(8, device=self.model.device)[None] % len(head)
        made = soft_capped((self._states(probe) @ head.t()).float(), self._cap)
        logits = self.model(input_ids=probe, use_cache=False).logits[..., : len(head)].float()
        # A function of small logits may differ from them by less than what bfloat16 rounds away, but float32 shows it.
        near = 1e-4 if head.dtype == torch.float32 else 1e-2
        if not torch.allclose(made, logits, rtol=near, atol=near / 10, equal_nan=True):
            raise ConfigError(
                f"the teacher {self._folder} has logits that are no known function of hidden states and head (product, "
                f"bias, scale, soft cap); allowed for it: stored='exact' or 'coded'"
            )
