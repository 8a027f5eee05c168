"""A teacher whose weights are shared by several ranks says and stores what the whole one does."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.placement import Execution, resolve
from pdstudy.config.truncation import TopPK
from pdstudy.corpus import TokenCorpus, open_corpus
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher import capture as capture_module
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.weights import load_causal_lm
from pdstudy.models.distributed import open_ranks
from pdstudy.models.parallelize import shard_frozen
from pdstudy.models.student_config import transformers_config
from tests.distill.conftest import CONTEXT, SEQUENCES
from tests.distill.teacher_families import WITH_IMAGES, save_teacher, save_with_images
from tests.models.families import FAMILIES, student_of
from tests.train import ranks

PROMPT = torch.arange(24).view(2, 12) * 7 % 300


def local_bytes(model: PreTrainedModel) -> int:
    """Bytes of the weights that this rank holds."""
    parts = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
    return sum(part.numel() * part.element_size() for part in parts)


@torch.no_grad()
def compare_logits(folder: Path, *, head: bool) -> None:
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    with open_ranks(replicas=1, sharded=False) as mine:
        model = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
        shard_frozen(model, mine, head=head)
        for _ in range(2):  # gathered weights are let go of in between
            found, wanted = model(PROMPT, use_cache=False).logits, whole(PROMPT, use_cache=False).logits
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        kept = model.get_output_embeddings().weight
        assert isinstance(kept, DTensor) == head
        everywhere = mine.sum(torch.tensor(local_bytes(model))).item()
        whole_head = (
            0 if head else kept.numel() * kept.element_size() * (mine.size - 1 + whole.config.tie_word_embeddings)
        )
        assert everywhere == local_bytes(whole) + whole_head
        assert local_bytes(model) - whole_head / mine.size < 0.6 * local_bytes(whole)


@pytest.mark.integration
@pytest.mark.parametrize("head", [True, False], ids=["capture", "live"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_sharded_logits_are_those_of_the_whole_teacher(head: bool, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_positions=16, n_embd=32, n_layer=3, n_head=2, initializer_range=0.2, tie_word_embeddings=tied
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    ranks.run(2, _compare, tmp_path, head)


def _compare(folder: Path, head: bool) -> None:
    compare_logits(folder, head=head)


@torch.no_grad()
def compare_families(folders: list[Path], report: Path) -> None:
    """Write which family's logits differ by more than rounding, in units of their spread, whole from sharded."""
    tokens = torch.arange(64).view(2, 32) * 7 % 300
    wrong = []
    with open_ranks(replicas=1, sharded=False) as mine:
        for folder in folders:
            wanted = load_causal_lm(folder, dtype=torch.float32).eval()(input_ids=tokens, use_cache=False).logits
            for head in (True, False):
                model = load_causal_lm(folder, dtype=torch.float32).eval().requires_grad_(False)
                try:
                    shard_frozen(model, mine, head=head)
                    found = model(input_ids=tokens, use_cache=False).logits
                    difference = ((found - wanted).abs().max() / wanted.std()).item()
                    if not head:  # as a live teacher is called
                        model.base_model(input_ids=tokens, use_cache=False)
                except RuntimeError as error:
                    wrong.append(f"{folder.name}, head sharded {head}: {error}")
                    continue
                if not difference < 1e-5:
                    wrong.append(f"{folder.name}, head sharded {head}: {difference:.2g}")
        if mine.main:
            report.write_text("\n".join(wrong))


@pytest.mark.slow
def test_teachers_of_all_families_are_sharded(tmp_path: Path) -> None:
    folders = [save_teacher(student_of(family), tmp_path / family) for family in sorted(FAMILIES)]
    folders += [
        save_with_images(name, transformers_config(student_of(family)), tmp_path / name)
        for name, (_, family) in WITH_IMAGES.items()
    ]
    ranks.run(2, compare_families, folders, tmp_path / "report", timeout=400)
    assert (tmp_path / "report").read_text() == ""


def capture_together(
    spec: StoreSpec, coverage: Coverage, corpus: Path, teacher: Path, directory: Path, interrupted: bool
) -> None:
    """Small shards and batches, so that some ranks have nothing left to read in the last round of a shard."""
    capture_module.SHARD_TOKENS = 8 * CONTEXT
    capture_module.TEACHER_LOGITS_BYTES = {"cpu": 3 * 4 * CONTEXT * 424}
    seen: list[str] = []

    def progress(what: str, share: float) -> None:
        seen.append(what)
        if interrupted and len(seen) == 20:
            raise KeyboardInterrupt

    with open_ranks(replicas=1, sharded=False) as mine:
        try:
            capture(
                spec, coverage, SEQUENCES, corpus=open_corpus(corpus), teacher=teacher, directory=directory,
                progress=progress, peers=mine, lay_out=functools.partial(shard_frozen, ranks=mine, head=True),
            )  # fmt: skip
        except KeyboardInterrupt:
            assert interrupted
            return
        assert not interrupted
        assert len(seen) == len(SEQUENCES) - 13


@pytest.mark.integration
def test_a_store_of_two_ranks_is_that_of_one(
    tmp_path: Path, store: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path
) -> None:
    """The first time it is stopped after two shards, on all ranks at once, and goes on from there."""
    for interrupted in (True, False):
        ranks.run(2, capture_together, spec, coverage, corpus.directory, teacher, tmp_path, interrupted)
        assert len(list(tmp_path.glob("shard-*.safetensors"))) == (2 if interrupted else 5)
    cut, wanted = TopPK(p=0.98, k=40), np.array(SEQUENCES)
    ours, theirs = (
        open_store(folder, spec=spec, corpus=corpus, wanted=cut, sequences=SEQUENCES).signal(wanted, cut)
        for folder in (tmp_path, store)
    )
    assert torch.equal(ours.ids, theirs.ids)
    for name in ("log_probs", "tail", "gold", "log_normaliser", "entropy", "std"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-5, atol=1e-5)


def test_the_gpus_of_a_capture_are_its_ranks() -> None:
    """GPUs for all stages are one for a capture, as before; its own are shared by its teacher."""
    assert resolve([Execution(gpus=8)], "logits", 1e9).ranks == 1
    assert resolve([Execution(stage="logits", gpus=4)], "logits", 1e9).ranks == 4
    assert resolve([Execution(stage="logits", gpus=0)], "logits", 1e9).ranks == 1
    assert resolve([Execution(stage="logits", parameters=1e10, gpus=4)], "logits", 1e9).ranks == 1
