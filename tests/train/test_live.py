"""A teacher that runs in the step gives what its store gives, and never holds tokens x vocabulary."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma2Config, Gemma2ForCausalLM

from pdstudy.config.alpha import ByConfidence, Routed
from pdstudy.config.data import Slice
from pdstudy.config.logits import StoreSpec, required_coverage
from pdstudy.config.losses import KLD, MSE, Decoupled, ReverseKL, Tail, Temperature
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_jsonl
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.loss import chunk_size as chunks
from pdstudy.distill.micro_batch import make_micro_batch
from pdstudy.distill.store.quantised import MOST_ADDED_KL
from pdstudy.distill.teacher.capture import capture
from pdstudy.distill.teacher.live import LiveTeacher
from pdstudy.distill.teacher.weights import write_digests
from pdstudy.workspace.run_dir import RunDir
from tests.distill.teachers import make_teacher
from tests.train import ranks
from tests.train.one_run import train_run

TEACHER = Shape(width=48, layers=2, heads=4, query_groups=2, ffn=96, vocab=512)


@pytest.fixture(scope="module")
def teacher(small_run: Run, corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    directory = RunDir(tmp_path_factory.mktemp("live") / "teacher")
    run = dataclasses.replace(
        small_run, student=TEACHER, data=Slice(tokens=64 * 400, start=64 * 1000), steps=60, optimiser=AdamW(lr=5e-3)
    )
    assert train_run(run, directory, corpus=corpus, store=None, evaluations=()) == "done"
    return directory


def student(small_run: Run, teacher: RunDir, **objective: object) -> Run:
    return dataclasses.replace(small_run, objective=KD(teacher=teacher.config(), **objective), steps=20)


def losses(
    run: Run, teacher: RunDir, corpus: TokenCorpus, path: Path, placement: Placement | None = None
) -> list[list[float]]:
    """Loss, lm and kd of each step."""
    live = {"teacher": teacher.model, "store": None}
    if not run.is_live:
        spec = StoreSpec(corpus=run.corpus, view=run.view, split="train", teacher=teacher.config())
        sequences = run.view.sequences(run.data)
        folder = path / "store"
        capture(
            spec, required_coverage(run.objective), sequences, corpus=corpus, teacher=teacher.model, directory=folder
        )
        live = {"teacher": None, "store": folder}
    directory = RunDir(path / "run")
    assert train_run(run, directory, corpus=corpus, placement=placement or Placement(), **live) == "done"
    return [[row[name] for name in ("loss", "lm", "kd")] for row in read_jsonl(directory.metrics_file)]


@pytest.mark.integration
@pytest.mark.parametrize(
    "objective",
    [
        {"truncation": TopPK(p=0.95, k=20)},
        {"truncation": TopPK(p=1, k=None), "loss": KLD()},
        {"truncation": Sampled(draws=12), "alpha": 1.0},
        {"truncation": TopPK(p=1, k=8), "rest": Tail(), "temperature": Temperature(tau=2.0), "loss": ReverseKL()},
        {"truncation": TopPK(p=0.9, k=16), "rest": Decoupled(), "loss": KLD(), "tokens": ByConfidence()},
        {"truncation": TopPK(p=1, k=12), "loss": MSE(on="logits")},
    ],
    ids=["top-p-k", "whole", "sampled", "tail", "decoupled", "mse"],
)
def test_a_live_run_is_the_run_from_the_store(
    objective: dict[str, object], small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    cached = losses(student(small_run, teacher, **objective), teacher, corpus, tmp_path / "cached")
    run = student(small_run, teacher, stored="live", **objective)
    live = losses(run, teacher, corpus, tmp_path / "live", Placement(micro_batch_tokens=192, read_ahead=1))
    assert live[0] == pytest.approx(cached[0], abs=1e-6)
    for ours, theirs in zip(live, cached, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert live[-1][2] < live[0][2]


@pytest.mark.integration
def test_a_coded_store_is_off_by_no_more_than_it_declares(
    small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    objective = {"truncation": TopPK(p=1, k=50), "rest": Tail(), "loss": KLD()}
    coded = losses(student(small_run, teacher, stored="coded", **objective), teacher, corpus, tmp_path / "coded")
    live = losses(student(small_run, teacher, stored="live", **objective), teacher, corpus, tmp_path / "live")
    # Coding moves p by a KL divergence of BOUND at most, in the mean, and so by sqrt(2 BOUND) in sum |dp| (Pinsker);
    # the loss then moves by that times the size of log(p / q), about 1 nat here.
    for ours, theirs in zip(coded, live, strict=True):
        assert ours == pytest.approx(theirs, abs=(2 * MOST_ADDED_KL) ** 0.5)
    assert coded[0][2] != live[0][2]


@contextmanager
def largest_new_tensor() -> Iterator[list[int]]:
    """Bytes of the largest storage that an operation returns."""
    seen = [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for value in out if isinstance(out, list | tuple) else [out]:
                if isinstance(value, torch.Tensor):
                    seen[0] = max(seen[0], value.untyped_storage().nbytes())
            return out

    with Watch():
        yield seen


@pytest.mark.integration
@pytest.mark.parametrize("truncation", [TopPK(p=1, k=12), TopPK(p=1, k=None)])
def test_no_tensor_of_tokens_times_vocabulary(
    truncation: TopPK, small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = 16
    for device in ("cpu", "cuda"):
        for table in (chunks.CHUNK_BYTES, chunks.STATISTICS_BYTES):
            monkeypatch.setitem(table, device, rows * 4 * corpus.vocab)
        monkeypatch.setitem(chunks.LEAST_ROWS, device, rows)
        monkeypatch.setitem(chunks.ROW_MULTIPLE, device, 1)
    run = student(small_run, teacher, truncation=truncation, stored="live")
    run = dataclasses.replace(run, steps=1, tokens_per_step=64 * 64)
    with largest_new_tensor() as largest:
        losses(run, teacher, corpus, tmp_path)
    whole = run.tokens_per_step * corpus.vocab * 4
    trunk = run.tokens_per_step * TEACHER.ffn * 4  # the largest that a forward makes anyway
    assert trunk <= largest[0] < 2 * trunk < whole / 2


def on_ranks(run: Run, path: Path, corpus: TokenCorpus, folder: Path, placement: Placement) -> None:
    train_run(run, RunDir(path), corpus=corpus, store=None, teacher=folder, evaluations=(), placement=placement)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_ranks_share_the_teacher(
    tied: bool, small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    if not tied:
        other = dataclasses.replace(teacher.config(), student=dataclasses.replace(TEACHER, tied=False))
        teacher = RunDir(tmp_path / "untied")
        train_run(other, teacher, corpus=corpus, store=None, evaluations=())
    run = student(small_run, teacher, truncation=TopPK(p=0.95, k=20), stored="live")
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    on_ranks(run, one.path, corpus, teacher.model, Placement())
    ranks.run(2, on_ranks, run, two.path, corpus, teacher.model, Placement(micro_batch_tokens=128, read_ahead=2))
    for ours, theirs in zip(read_jsonl(two.metrics_file), read_jsonl(one.metrics_file), strict=True):
        for part in ("loss", "lm", "kd"):
            assert ours[part] == pytest.approx(theirs[part], rel=1e-6 if ours["step"] < 5 else 1e-4)


@pytest.mark.parametrize("truncation", [TopPK(p=1, k=9), TopPK(p=1, k=None)])
def test_a_live_teacher_s_padding_rows_have_no_probability(
    truncation: TopPK, small_run: Run, corpus: TokenCorpus, tmp_path: Path
) -> None:
    model = make_teacher(tmp_path, corpus)  # with more rows than the tokenizer has ids
    objective = KD(teacher=Pretrained(path=str(tmp_path)), truncation=truncation, stored="live")
    live = LiveTeacher(tmp_path, dataclasses.replace(small_run, objective=objective), corpus)
    batch = make_micro_batch(read_batch(corpus.stream("train"), small_run.view, np.arange(2)), np.arange(2))
    found = live.signal(batch)
    assert found.width <= corpus.vocab
    signal = found.rows(slice(0, 2 * 64))
    with torch.no_grad():
        logits = model(input_ids=batch.inputs).logits[..., : corpus.vocab].flatten(0, 1)
    want = torch.log_softmax(logits, 1).gather(1, batch.targets[:, None])[:, 0]
    torch.testing.assert_close(signal.gold, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(signal.log_probs.exp().sum(1) + signal.tail, torch.ones(2 * 64))


@pytest.mark.integration
def test_a_bfloat16_teacher_speaks_in_bfloat16(
    small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    found = []
    for stored in ("exact", "live"):
        other = Pretrained(path=str(teacher.model), dtype="bfloat16")
        run = dataclasses.replace(small_run, objective=KD(teacher=other, stored=stored), steps=2)
        folder = tmp_path / stored
        if stored == "exact":
            spec = StoreSpec(corpus=run.corpus, view=run.view, split="train", teacher=other)
            sequences = run.view.sequences(run.data)
            capture(
                spec,
                required_coverage(run.objective),
                sequences,
                corpus=corpus,
                teacher=teacher.model,
                directory=folder,
            )
        directory = RunDir(tmp_path / f"run-{stored}")
        store = folder if stored == "exact" else None
        train_run(run, directory, corpus=corpus, store=store, teacher=teacher.model, evaluations=())
        found.append([row["kd"] for row in read_jsonl(directory.metrics_file)])
    assert found[1] == pytest.approx(found[0], abs=2e-3)  # a bfloat16 logit of 4 is known to 0.03


def test_a_teacher_whose_logits_are_no_known_function_is_refused(
    small_run: Run, corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a cap that is not known of, even where all logits are so small that it hardly bends them."""
    config = Gemma2Config(
        vocab_size=corpus.vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=30.0, initializer_range=0.1,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    objective = KD(teacher=Pretrained(path=str(tmp_path)), stored="live")
    run = dataclasses.replace(small_run, objective=objective)
    LiveTeacher(tmp_path, run, corpus)
    monkeypatch.setattr("pdstudy.distill.teacher.live.soft_cap", lambda config: None)
    with pytest.raises(ConfigError, match=r"no known function of hidden.*allowed for it: stored='exact' or 'coded'"):
        LiveTeacher(tmp_path, run, corpus)


@pytest.mark.integration
def test_what_a_live_teacher_cannot_do_is_refused(
    small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    routed = student(small_run, teacher, stored="live", tokens=Routed())
    assert [p.field for p in problems(routed)] == ["objective.tokens"]
    whole = student(small_run, teacher, truncation=TopPK(p=1, k=None))
    assert not list(problems(whole))
    large = dataclasses.replace(
        whole,
        student=dataclasses.replace(whole.student, vocab=8192),
        objective=dataclasses.replace(
            whole.objective,
            teacher=dataclasses.replace(teacher.config(), student=dataclasses.replace(TEACHER, vocab=8192)),
        ),
    )
    (problem,) = problems(large)
    assert "stored='live'" in str(problem)
    run = student(small_run, teacher, stored="live")
    with pytest.raises(ConfigError, match="no model folder was given"):
        train_run(run, RunDir(tmp_path / "none"), corpus=corpus, store=None, evaluations=())


@pytest.mark.integration
@pytest.mark.parametrize("truncation", [TopPK(p=0.95, k=20), TopPK(p=1, k=None), Sampled(draws=12)])
def test_a_live_teacher_that_speaks_no_numbers_is_refused_by_name(
    truncation: TopPK | Sampled, small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    """And its student is not recorded as diverged."""
    broken = shutil.copytree(teacher.model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    write_digests(broken)
    objective = KD(teacher=Pretrained(path=str(broken)), truncation=truncation, stored="live")
    run, directory = dataclasses.replace(small_run, objective=objective, steps=2), RunDir(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"broken has logits that are not numbers \(nan\), first at position"):
        train_run(run, directory, corpus=corpus, teacher=broken)
    assert directory.result() is None


@pytest.mark.integration
def test_a_live_teacher_runs_in_the_type_that_is_declared(small_run: Run, teacher: RunDir, corpus: TokenCorpus) -> None:
    batch = make_micro_batch(read_batch(corpus.stream("train"), small_run.view, np.arange(5, 7)), np.arange(2))
    found = []
    for name in ("float32", "bfloat16"):
        pretrained = Pretrained(path=str(teacher.model), dtype=name)
        run = dataclasses.replace(
            small_run, objective=KD(teacher=pretrained, truncation=TopPK(p=1, k=5), stored="live")
        )
        live = LiveTeacher(teacher.model, run, corpus)
        signal = live.signal(batch)
        assert (live.model.dtype, signal.head.dtype, signal.states.dtype) == (getattr(torch, name),) * 3
        found.append(signal.rows(slice(None)).log_normaliser)
    assert (found[0] - found[1]).abs().max() > 1e-4
