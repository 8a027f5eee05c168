"""What a step reads, and that documents are respected where the view says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from pdstudy.config.data import View
from pdstudy.config.placement import Placement
from pdstudy.config.run import LM, Run
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import IGNORED, read_batch, step_sequences
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch, positions_in_document
from pdstudy.models import attention
from pdstudy.models.build_model import build_model
from pdstudy.models.distributed import Ranks
from pdstudy.train.loader import BatchLoader
from pdstudy.train.loop import gradients
from pdstudy.train.weight_update import adamw, clip
from pdstudy.workspace.run_dir import RunDir
from tests.core.test_normal import make_run
from tests.train.one_run import train_run

ALONE = Ranks(torch.device("cpu"))
RESPECT = View(context=64, documents="respect")


@pytest.mark.integration
def test_reading_ahead_changes_nothing(small_run: Run, corpus: TokenCorpus, tmp_path: Path) -> None:
    plain, ahead = (
        BatchLoader(small_run, corpus, None, Placement(micro_batch_tokens=128, read_ahead=n), ALONE) for n in (0, 3)
    )
    for step in range(small_run.num_steps):
        (valid, one), (also_valid, other) = plain.step(step), ahead.step(step)
        assert valid == also_valid == 512
        for (last, ours), (also_last, theirs) in zip(one, other, strict=True):
            assert last == also_last
            assert torch.equal(ours.inputs, theirs.inputs)
            assert torch.equal(ours.targets, theirs.targets)
    ahead.close()
    directory = RunDir(tmp_path / "run")
    ahead_by_two = Placement(read_ahead=2)
    assert train_run(small_run, directory, corpus=corpus, store=None, evaluations=(), placement=ahead_by_two) == "done"


def test_ranks_divide_a_step_and_others_are_refused(small_run: Run, corpus: TokenCorpus) -> None:
    whole = next(BatchLoader(small_run, corpus, None, Placement(), ALONE).step(3)[1])[1]
    for size in (2, 4, 8):
        worlds = [Ranks(torch.device("cpu"), rank, size) for rank in range(size)]
        shares = [next(BatchLoader(small_run, corpus, None, Placement(), world).step(3)[1])[1] for world in worlds]
        assert torch.equal(torch.cat([share.inputs for share in shares]), whole.inputs)
    with pytest.raises(ConfigError, match="found 3; allowed: a divisor of the 8 sequences of a step, 1, 2, 4, 8"):
        BatchLoader(small_run, corpus, None, Placement(), Ranks(torch.device("cpu"), 0, 3))


def test_a_document_is_computed_as_if_it_were_alone(small_run: Run, corpus: TokenCorpus) -> None:
    model = build_model(small_run.student, seed=0, dtype=torch.float64)
    batch = read_batch(corpus.stream("train"), RESPECT, np.arange(12))
    part = make_micro_batch(batch, np.arange(12))
    packed = make_micro_batch(batch, np.arange(12), packed=True)
    assert packed.mask is None
    assert packed.inputs.shape == (1, 12 * 64)

    def hidden_states(model: PreTrainedModel, part: MicroBatch) -> torch.Tensor:
        return model.base_model(
            input_ids=part.inputs, attention_mask=part.mask, position_ids=part.positions, use_cache=False
        ).last_hidden_state

    hidden = hidden_states(model, part)
    # transformers' own reading of positions, which is what flash attention gets.
    other = build_model(small_run.student, seed=0, dtype=torch.float64)
    other.set_attn_implementation("sdpa")
    torch.testing.assert_close(hidden_states(other, packed).view_as(hidden), hidden, atol=1e-6, rtol=1e-6)
    alone = 0
    for row in range(12):
        for document in range(batch.documents[row].max() + 1):
            places = np.flatnonzero(batch.documents[row] == document)
            tokens = part.inputs[row, places[0] : places[-1] + 1]
            expected = hidden_states(model, MicroBatch(tokens[None], tokens))[0]
            torch.testing.assert_close(hidden[row, places], expected, atol=1e-6, rtol=1e-6)
            if document:
                assert batch.targets[row, places[0] - 1] == IGNORED
                alone += 1
    assert alone > 5


def test_positions_begin_anew_with_each_document() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    expected = [[0, 1, 2, 0, 0, 1], [0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]
    assert positions_in_document(documents).tolist() == expected


class _Reads(TorchDispatchMode):
    """Counts operations that read a value or a size from the device: on a GPU, each waits for it."""

    WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::is_nonzero", "aten::equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, kinds, arguments=(), named=None):  # type: ignore[no-untyped-def]
        if function._schema.name in self.WAITING:
            self.found.append(function._schema.name)
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("documents", ["cross", "respect"])
def test_a_step_reads_nothing_from_the_device(documents: str, small_run: Run, corpus: TokenCorpus) -> None:
    run = dataclasses.replace(small_run, view=View(context=64, documents=documents))
    model = build_model(run.student, seed=0)
    optimiser = adamw(model, run.optimiser)
    feed = BatchLoader(run, corpus, None, Placement(micro_batch_tokens=256), ALONE)
    with _Reads() as reads:
        gradients(model, feed, ALONE, 0, LM(), 0.0, corpus.vocab)
        clip(model, 1.0)
        optimiser.step()
    assert reads.found == []
    with _Reads() as reads:
        float(torch.ones(1))
    assert reads.found == ["aten::_local_scalar_dense"]


def test_flash_attention_is_refused_where_it_cannot_run() -> None:
    cpu, shape = torch.device("cpu"), make_run().student
    assert attention.choose("auto", student=shape, precision="bfloat16", device=cpu) == "sdpa"
    with pytest.raises(
        ConfigError, match=r"found 'flash_attention_2'.*a CUDA device, precision='bfloat16', the package"
    ):
        attention.choose("flash_attention_2", student=shape, precision="float32", device=cpu)


@pytest.mark.parametrize("bound", [64, 65, 127, 128, 191, 192, 255, 256, 511, 512, 10_000])
def test_no_micro_batch_is_above_its_bound_and_none_is_smaller_than_it_must_be(
    bound: int, small_run: Run, corpus: TokenCorpus
) -> None:
    """Of eight sequences of 64 tokens."""
    loader = BatchLoader(small_run, corpus, None, Placement(micro_batch_tokens=bound), ALONE)
    parts = [part for _, part in loader.step(2)[1]]
    sizes = [part.inputs.numel() for part in parts]
    assert sum(sizes) == 512
    assert max(sizes) <= bound
    assert len(sizes) == -(-8 // (bound // 64))
    assert max(sizes) - min(sizes) <= 64
    sequences = np.concatenate([part.sequences for part in parts])
    assert sequences.tolist() == step_sequences(small_run, 2).tolist()
