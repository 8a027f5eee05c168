"""Columns of a probe against dense float64 references, of runs with a teacher and without."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pdstudy.config.alpha import ByConfidence, Everywhere, Routed
from pdstudy.config.data import Slice
from pdstudy.config.evaluation import Evaluation, Probe
from pdstudy.config.model import Shape
from pdstudy.config.optimizer import AdamW
from pdstudy.config.placement import Placement
from pdstudy.config.run import KD, LM, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import fingerprint
from pdstudy.core.validation import problems
from pdstudy.corpus import TokenCorpus
from pdstudy.corpus.batch import read_batch
from pdstudy.distill.micro_batch import MicroBatch, make_micro_batch
from pdstudy.evaluate.heldout import evaluate_export
from pdstudy.evaluate.probes import TeacherScores
from pdstudy.models.build_model import build_model
from pdstudy.workspace.run_dir import RunDir
from tests.core.test_normal import make_run
from tests.distill.reference import kept_ids
from tests.train import ranks
from tests.train.one_run import train_run

TEACHER = Shape(width=48, layers=2, heads=4, query_groups=2, ffn=96, vocab=512)
DATA = Slice(tokens=64 * 32, split="validation")
OF_TEACHER = {"teacher_loss", "kl", "reverse_kl", "agreement", "ece_teacher"}


@pytest.fixture(scope="module")
def teacher(small_run: Run, corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    directory = RunDir(tmp_path_factory.mktemp("probes") / "teacher")
    run = dataclasses.replace(
        small_run, student=TEACHER, data=Slice(tokens=64 * 400, start=64 * 1000), steps=60, optimiser=AdamW(lr=5e-3)
    )
    assert train_run(run, directory, corpus=corpus, store=None, evaluations=()) == "done"
    return directory


def probed(run: Run, path: Path, teacher: RunDir, corpus: TokenCorpus, evaluations: tuple[Evaluation, ...]) -> RunDir:
    """The run, with a live teacher where it distils, and a micro-batch that does not divide the probe."""
    directory = RunDir(path)
    folders = {fingerprint(teacher.config()): teacher.model}
    state = train_run(
        run, directory, corpus=corpus, store=None, teacher=teacher.model, evaluations=evaluations, probed=folders,
        placement=Placement(micro_batch_tokens=64 * 5),
    )  # fmt: skip
    assert state == "done"
    return directory


def dense(folder: Path, corpus: TokenCorpus) -> tuple[torch.Tensor, torch.Tensor]:
    """float64 log-probabilities [N, V] on the probe's text, and its targets."""
    tokens = torch.from_numpy(corpus.stream("validation").tokens(0, DATA.tokens + 1))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(input_ids=tokens[:-1].view(-1, 64)).logits[..., : corpus.vocab].flatten(0, 1)
    return torch.log_softmax(logits.double(), 1), tokens[1:]


def dense_angle(folder: Path, corpus: TokenCorpus, log_p: torch.Tensor, kept: list[list[int]]) -> tuple[float, float]:
    """Between gradients of -sum t log q of t = p on the kept ids, renormalised, and of t = p; over all layers."""
    model = AutoModelForCausalLM.from_pretrained(folder).double()
    inputs = torch.from_numpy(corpus.stream("validation").tokens(0, DATA.tokens)).view(-1, 64)
    cut = torch.zeros_like(log_p)
    for i, ids in enumerate(kept):
        cut[i, ids] = torch.softmax(log_p[i, ids], 0)
    found = []
    for target in (cut, log_p.exp()):
        model.zero_grad()
        logits = model(input_ids=inputs).logits.flatten(0, 1)
        (-(target * torch.log_softmax(logits[:, : log_p.shape[1]], 1)).sum()).backward()
        named = [(name, p) for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
        found.append(torch.cat([p.grad.flatten() for _, p in named]))
    cosine = torch.dot(*found) / (found[0].norm() * found[1].norm())
    return math.degrees(math.acos(cosine)), (found[0].norm() / found[1].norm()).item()


@pytest.mark.integration
def test_columns_are_those_of_dense_distributions(
    small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    objective = KD(teacher=teacher.config(), truncation=TopPK(p=0.8, k=25), stored="live")
    run = dataclasses.replace(small_run, objective=objective)
    probe = Probe(data=DATA, every_tokens=12 * 512)
    directory = probed(run, tmp_path / "student", teacher, corpus, (probe,))
    log_q, targets = dense(directory.model, corpus)
    log_p, _ = dense(teacher.model, corpus)
    p, q = log_p.exp(), log_q.exp()
    (row,) = directory.result()["evals"]
    assert row["tokens_scored"] == DATA.tokens
    assert row["loss"] == pytest.approx(-log_q.gather(1, targets[:, None]).mean().item(), abs=1e-5)
    assert row["teacher_loss"] == pytest.approx(-log_p.gather(1, targets[:, None]).mean().item(), abs=1e-5)
    assert row["kl"] == pytest.approx((p * (log_p - log_q)).sum(1).mean().item(), abs=1e-5)
    assert row["reverse_kl"] == pytest.approx((q * (log_q - log_p)).sum(1).mean().item(), abs=1e-5)
    assert row["kl"] != pytest.approx(row["reverse_kl"], abs=1e-3)
    confidence, best = q.max(1)
    assert row["agreement"] == pytest.approx((best == p.argmax(1)).double().mean().item(), abs=1e-3)
    ours = p.gather(1, best[:, None])[:, 0]
    error = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        error += abs((ours[inside] - confidence[inside]).sum().item()) / len(p)
    assert row["ece_teacher"] == pytest.approx(error, abs=1e-5)
    kept = [kept_ids(line.tolist(), 0.8, 25) for line in log_p.float()]
    assert row["kept_entries"] == pytest.approx(sum(map(len, kept)) / len(kept), abs=2e-3)
    assert row["kept_mass"] == pytest.approx(
        sum(p[i, ids].sum().item() for i, ids in enumerate(kept)) / len(kept), abs=1e-4
    )
    angle, ratio = dense_angle(directory.model, corpus, log_p, kept)
    assert row["gradient_angle"] == pytest.approx(angle, abs=0.05)
    assert row["gradient_ratio"] == pytest.approx(ratio, rel=1e-3)
    assert angle > 5
    during = [line for line in (directory.evals_file).read_text().splitlines() if '"final": false' in line]
    assert len(during) == 1


@pytest.mark.integration
def test_of_draws_different_ids_count(small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path) -> None:
    objective = KD(teacher=teacher.config(), truncation=Sampled(draws=6), stored="live")
    run = dataclasses.replace(small_run, objective=objective, steps=2)
    (row,) = probed(run, tmp_path / "student", teacher, corpus, (Probe(data=DATA),)).result()["evals"]
    log_p, _ = dense(teacher.model, corpus)
    p = log_p.exp()
    seen = 1 - (1 - p) ** 6  # the chance that six draws have an id
    spread = math.sqrt((seen * (1 - seen)).sum(1).mean() / len(p))
    assert abs(row["kept_entries"] - seen.sum(1).mean().item()) < 4 * spread
    assert abs(row["kept_mass"] - (p * seen).sum(1).mean().item()) < 4 * spread
    assert row["kept_entries"] < 6


@pytest.mark.integration
def test_runs_without_a_teacher(small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path) -> None:
    run = dataclasses.replace(small_run, objective=LM(), steps=2)
    plain, named = Probe(data=DATA), Probe(data=DATA, teacher=teacher.config())
    directory = probed(run, tmp_path / "lm", teacher, corpus, (plain, named))
    rows = directory.result()["evals"]
    assert set(rows[1]) - set(rows[0]) == OF_TEACHER
    assert rows[0]["loss"] == rows[1]["loss"]
    assert {"accuracy", "ece", "recalibrated"} < set(rows[0])
    own = probed(teacher.config(), teacher.path, teacher, corpus, ())
    assert own.result()["state"] == "done"

    folder = Pretrained(path=str(teacher.model))
    late = Probe(data=DATA, teacher=folder)
    evaluate_export(
        run, directory, corpus=corpus, evaluations=(late,), teachers={fingerprint(folder): teacher.model},
        progress=lambda what, share: None,
    )  # fmt: skip
    added = directory.result()["evals"][-1]
    assert added["eval"] == fingerprint(late)
    for name in OF_TEACHER:
        assert added[name] == pytest.approx(rows[1][name], abs=1e-5)


def on_ranks(run: Run, path: Path, teacher: RunDir, corpus: TokenCorpus, probe: Probe) -> None:
    probed(run, path, teacher, corpus, (probe,))


@pytest.mark.slow
def test_ranks_share_a_probe(small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path) -> None:
    probe = Probe(data=dataclasses.replace(DATA, tokens=64 * 31), teacher=teacher.config())
    objective = KD(teacher=teacher.config(), truncation=TopPK(p=0.8, k=25), stored="live")
    run = dataclasses.replace(small_run, steps=2, objective=objective)
    on_ranks(run, tmp_path / "one", teacher, corpus, probe)
    ranks.run(2, on_ranks, run, tmp_path / "two", teacher, corpus, probe)
    one, two = (RunDir(tmp_path / name).result()["evals"][0] for name in ("one", "two"))
    assert two.keys() == one.keys()
    for name in set(one) - {"seconds", "eval", "split", "slice"}:
        assert two[name] == pytest.approx(one[name], abs=1e-3), name


def test_a_probe_reads_no_training_text() -> None:
    (problem,) = problems(Probe(data=Slice(tokens=64)))
    assert problem.field == "data.split"


@pytest.mark.integration
def test_a_probe_s_gradients_weigh_every_token_alike(
    small_run: Run, teacher: RunDir, corpus: TokenCorpus, tmp_path: Path
) -> None:
    """Whatever rule the run has for tokens: a rule that a store alone can serve must not stop a probe either."""
    model = build_model(small_run.student, seed=1)
    batch = make_micro_batch(read_batch(corpus.stream("validation"), small_run.view, np.arange(3, 4)), np.arange(1))
    found = []
    for tokens in (Everywhere(), ByConfidence(), Routed(share=0.5)):
        objective = KD(teacher=teacher.config(), truncation=TopPK(p=0.8, k=25), tokens=tokens)
        scores = TeacherScores(
            dataclasses.replace(small_run, objective=objective), teacher.config(), teacher.model, corpus
        )
        gradients = scores.gradients(model, batch)
        assert gradients is not None
        found.append(gradients)
    for own, whole in found[1:]:
        assert torch.equal(own, found[0][0])
        assert torch.equal(whole, found[0][1])


def test_rows_of_a_teacher_that_no_token_has_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder from a hub may have more rows than its tokenizer has ids: they are none of the distribution."""
    vocab, run = 500, make_run(objective=LM())
    model = build_model(TEACHER, seed=3).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[vocab:] = 5.0
    monkeypatch.setattr("pdstudy.evaluate.probes.load_teacher", lambda *given: model)
    scores = TeacherScores(run, Pretrained(path="hub"), tmp_path, SimpleNamespace(vocab=vocab))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(vocab, (2, 64), generator=generator)
    targets = torch.randint(vocab, (128,), generator=generator)
    hidden, head = torch.randn(128, 32, generator=generator), torch.randn(512, 32, generator=generator)
    scores.add(MicroBatch(inputs, targets, sequences=np.arange(2)), hidden, head)
    found = scores.columns(scores.pack())
    with torch.no_grad():
        log_p = torch.log_softmax(model(input_ids=inputs).logits[..., :vocab].double().flatten(0, 1), 1)
    log_q = torch.log_softmax(hidden.double() @ head[:vocab].double().t(), 1)
    assert found["teacher_loss"] == pytest.approx(-log_p.gather(1, targets[:, None]).mean().item(), abs=1e-5)
    assert found["kl"] == pytest.approx((log_p.exp() * (log_p - log_q)).sum(1).mean().item(), abs=1e-4)


def test_a_probe_s_teacher_that_speaks_no_numbers_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And no mean of a comparison is NaN."""
    model = build_model(TEACHER, seed=3).eval()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    monkeypatch.setattr("pdstudy.evaluate.probes.load_teacher", lambda *given: model)
    scores = TeacherScores(make_run(objective=LM()), Pretrained(path="hub"), tmp_path, SimpleNamespace(vocab=500))  # type: ignore[arg-type]
    ids = torch.zeros(128, dtype=torch.int64)
    batch = MicroBatch(ids.view(2, 64), ids, sequences=np.arange(7, 9))
    with pytest.raises(ConfigError, match=rf"{tmp_path} has logits that are not numbers .* position 0 of sequence 7"):
        scores.add(batch, torch.randn(128, 32), torch.randn(512, 32))
