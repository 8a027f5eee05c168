"""Held-out losses of a teacher that was not trained here, by which a study says what its students could learn from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdstudy.config.data import View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import Pretrained
from pdstudy.core.files import read_json, write_json
from pdstudy.core.identity import fingerprint
from pdstudy.core.progress import Progress, no_progress
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.loss.chunk_size import TEACHER_LOGITS_BYTES, size_for
from pdstudy.distill.teacher.load import load_teacher
from pdstudy.distill.teacher.weights import check_finite
from pdstudy.evaluate.heldout import make_row, read_batches
from pdstudy.evaluate.heldout_data import HeldOut, held_out
from pdstudy.evaluate.metrics import Scores
from pdstudy.models.distributed import Ranks


def evaluate_teacher(
    teacher: Pretrained,
    view: View,
    corpus: TokenCorpus,
    evaluations: tuple[Heldout, ...],
    directory: Path,
    *,
    progress: Progress = no_progress,
    threads: int = 1,
) -> None:
    """Score a model folder on held-out text, cut as that of its students; add what is new to `directory`/result.json.

    Its `evals` are rows like those of a run, its `parameters` are counts by group. Raises `ConfigError` where the model
    does not fit the corpus, or has logits that are not numbers.
    """
    folder = Path(teacher.path).expanduser()
    result: dict[str, Any] = read_json(directory / "result.json") or {"state": "done", "evals": []}
    made = {row["eval"] for row in result["evals"]}
    wanted = [each for each in evaluations if fingerprint(each) not in made]
    if not wanted:
        return
    torch.set_num_threads(threads)
    model = load_teacher(folder, corpus, view.context, getattr(torch, teacher.dtype))
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    total = sum(parameter.numel() for parameter in model.parameters())
    apart = 0 if head is embedding else head.numel()
    result["parameters"] = {"non_embedding": total - embedding.numel() - apart, "total": total}
    for number, heldout in enumerate(wanted):
        progress("evaluate", number / len(wanted))
        result["evals"].append(_score(model, folder, held_out(heldout, view, corpus)))
        write_json(directory / "result.json", result)


@torch.no_grad()
def _score(model: Any, folder: Path, text: HeldOut) -> dict[str, Any]:
    began = time.perf_counter()
    ranks = Ranks(model.device)
    scores, num_bytes = Scores.zero(text.count, ranks.device), torch.zeros(text.count, dtype=torch.float64)
    vocab, context = text.corpus.vocab, text.view.context
    limit = size_for(TEACHER_LOGITS_BYTES, ranks.device)
    rows = max(1, limit // (context * model.get_output_embeddings().weight.shape[0] * model.dtype.itemsize))
    for batch, sequence in read_batches(text, rows, num_bytes, packed=False, ranks=ranks):
        assert batch.sequences is not None
        logits: Tensor = model(input_ids=batch.inputs, use_cache=False).logits[..., :vocab]
        check_finite(logits, folder, batch.sequences.tolist())
        scores.add_logits(logits.flatten(0, 1), batch.targets, sequence, vocab)
    return make_row(text, scores, num_bytes, began)
