"""Held-out losses of a teacher that was not trained here, by which a study says what its students could learn from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pdstudy.config.data import View
from pdstudy.config.evaluation import Heldout
from pdstudy.config.run import Pretrained
from pdstudy.core.errors import ConfigError
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
from pdstudy.models.parallelize import shard_frozen


def evaluate_teacher(
    teacher: Pretrained,
    view: View,
    corpus: TokenCorpus,
    evaluations: tuple[Heldout, ...],
    directory: Path,
    *,
    progress: Progress = no_progress,
    threads: int = 1,
    ranks: Ranks = Ranks(torch.device("cpu")),  # noqa: B008 (frozen)
) -> None:
    """Score a model folder on held-out text, cut as that of its students; add what is new to `directory`/result.json.

    Its `evals` are rows like those of a run, its `parameters` are counts by group. The ranks share model and text.
    Raises `ConfigError` where the model does not fit the corpus, or has logits that are not numbers.
    """
    torch.set_num_threads(threads)
    folder = Path(teacher.path).expanduser()
    there: dict[str, Any] | None = ranks.on_main(lambda: read_json(directory / "result.json"))
    result = there or {"state": "done", "evals": []}
    made = {row["eval"] for row in result["evals"]}
    wanted = [each for each in evaluations if fingerprint(each) not in made]
    if not wanted:
        return

    def lay_out(model: PreTrainedModel) -> None:
        result["parameters"] = _counts(model)
        shard_frozen(model, ranks, head=True)

    model = load_teacher(folder, corpus, view.context, getattr(torch, teacher.dtype), lay_out)
    for number, heldout in enumerate(wanted):
        progress("evaluate", number / len(wanted))
        result["evals"].append(_score(model, folder, held_out(heldout, view, corpus), ranks))
        ranks.on_main(lambda: write_json(directory / "result.json", result))


def _counts(model: PreTrainedModel) -> dict[str, int]:
    """Parameters in all, and those that are neither embedding nor head."""
    tables = {id(part.weight): part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"non_embedding": total - sum(table.numel() for table in tables.values()), "total": total}


@torch.no_grad()
def _score(model: PreTrainedModel, folder: Path, text: HeldOut, ranks: Ranks) -> dict[str, Any]:
    began = time.perf_counter()
    scores, num_bytes = Scores.zero(text.count, ranks.device), torch.zeros(text.count, dtype=torch.float64)
    vocab, width = text.corpus.vocab, model.get_output_embeddings().weight.shape[0]
    rows = size_for(TEACHER_LOGITS_BYTES, ranks.device) // (text.view.context * width * model.dtype.itemsize)
    fault = None
    for batch, sequence in read_batches(text, max(1, rows), num_bytes, packed=False, ranks=ranks):
        assert batch.sequences is not None
        logits: Tensor = model(input_ids=batch.inputs, use_cache=False).logits[..., :vocab]
        try:
            check_finite(logits, folder, batch.sequences.tolist())
        except ConfigError as error:
            fault = fault or str(error)
        scores.add_logits(logits.flatten(0, 1), batch.targets, sequence, vocab)
    if (fault := ranks.first(fault)) is not None:
        raise ConfigError(fault)
    total = ranks.sum(torch.cat([scores.pack(), num_bytes.to(ranks.device)]))
    return make_row(text, scores.unpack(total[: -text.count]), total[-text.count :].cpu(), began)
