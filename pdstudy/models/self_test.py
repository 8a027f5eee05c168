"""The self-test of a student: that what is trained here is the model that its export will be.

Families differ in what is easily lost: windows, caps, biases, tables of positions, padding. The test builds a small
model of the student's kind, moves every parameter away from its neutral value, and compares two ways to the same
numbers. Its differences are the greatest ones, over the standard deviation of what is compared.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from pdstudy.config.model import Student
from pdstudy.config.run import LM
from pdstudy.core.errors import ConfigError
from pdstudy.distill.head import soft_cap
from pdstudy.distill.loss.capped import soft_capped
from pdstudy.distill.micro_batch import MicroBatch, document_mask, positions_in_document
from pdstudy.models.attention import choose
from pdstudy.models.build_model import from_config, trunk, with_loss
from pdstudy.models.export import write_model
from pdstudy.models.small_model import reduced_config
from pdstudy.models.student_config import transformers_config

TOKENS = 32
"""Tokens of a sequence of the test."""

FIRST_DOCUMENT = 13
"""Tokens of the first of two documents of a sequence."""

LARGEST_DIFFERENCE = 1e-3
"""Differences from this on are faults; those of rounding are below 1e-5."""

_OTHERS = "a family that holds, by the table in pdstudy/models/README.md"
_ACROSS = "view.documents='cross'"

FAULTS = {
    "positions": ("it has no position for the last of the view's {context} tokens", "{positions} of {context} or more"),
    "embedding": ("some rows of its embedding get no gradient", _OTHERS),
    "head": ("its logits are no known function of last states and head (product, bias, scale, soft cap)", _OTHERS),
    "causal": ("its states depend on later tokens", "a decoder"),
    "mask": ("it computes one document differently where documents are respected", _ACROSS),
    "packed": ("it computes a document differently behind another one", _ACROSS),
    "export": ("its export has another loss", _OTHERS),
    "resume": ("a resumed step is another one: something in it is random, or not saved", _OTHERS),
}
"""Part by part of the test, what is wrong where it fails, and what is allowed instead."""


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """Differences by part of the test, infinite where a part could not be carried out; and of parts that failed what is
    wrong, and what is allowed."""

    differences: dict[str, float]
    faults: dict[str, tuple[str, str]]


def self_test(student: Student, context: int, parameters: int) -> SelfTest:
    """Test the kind of model that a student of `parameters` is. Raises `ConfigError` where it cannot be built."""
    declared = transformers_config(student)
    config = reduced_config(declared, parameters)
    torch.manual_seed(0)
    attention = choose("auto", student=student, precision="float32", device=torch.device("cpu"))
    try:
        model = with_loss(from_config(config, attention))
    except Exception as error:  # whatever a family raises on sizes that it does not like
        raise ConfigError(f"no small model of {config.model_type!r} can be built: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        tests: dict[str, Callable[[], float]] = {
            "positions": lambda: _positions(model, context),
            "embedding": lambda: _embedding(model),
            "head": lambda: _head(model),
            "causal": lambda: _causal(model),
            "mask": lambda: _mask(model),
            "packed": lambda: _packed(model),
            "export": lambda: _export(model, Path(folder)),
            "resume": lambda: _resume(model, config, attention),
        }
        differences: dict[str, float] = {}
        faults: dict[str, tuple[str, str]] = {}
        _move_parameters(model)
        for name, test in tests.items():
            more = ""
            try:
                differences[name] = test()
            except Exception as error:  # another library's; what it says is the best hint there is
                differences[name], more = float("inf"), f": {' '.join(str(error).split())[:200]}"
            if not differences[name] < LARGEST_DIFFERENCE:
                wrong, allowed = (t.format(context=context, positions=_positions_name(declared)) for t in FAULTS[name])
                shown = more or ("" if name == "positions" else f", by {differences[name]:.1e}")
                faults[name] = wrong + shown, allowed
    return SelfTest(differences, faults)


def _positions_name(config: PretrainedConfig) -> str:
    """The name under which a family's configuration has the number of positions."""
    name = "max_position_embeddings"
    return config.attribute_map.get(name, name)


@torch.no_grad()
def _move_parameters(model: PreTrainedModel) -> None:
    """Random parameters, none of them neutral, and a head whose logits reach beyond their cap."""
    for parameter in model.parameters():
        noise = torch.randn_like(parameter)
        if parameter.ndim < 2:
            parameter.add_(0.3 * noise)
        else:
            parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    model.get_input_embeddings().weight.normal_()
    for _ in range(3):  # of a tied head the states change, too
        states, weight, _ = _states(model, _text(model))
        weight_scale = (soft_cap(model.config) or 4.0) / (states @ weight.t()).std()
        model.get_output_embeddings().weight.mul_(weight_scale)


def _text(model: PreTrainedModel) -> MicroBatch:
    """Sequences that have every id of the vocabulary."""
    vocab = model.config.vocab_size
    rows = max(2, -(-vocab // TOKENS))
    ids = torch.arange(rows * TOKENS).remainder(vocab)[torch.randperm(rows * TOKENS)].view(rows, TOKENS)
    return MicroBatch(ids, ids.roll(-1, 1).flatten())


def _respecting(batch: MicroBatch, *, first: int) -> MicroBatch:
    """The batch as sequences of a document of `first` tokens and one of the others."""
    documents = (torch.arange(batch.inputs.shape[1]) >= first).int().expand_as(batch.inputs)
    return dataclasses.replace(batch, positions=positions_in_document(documents), mask=document_mask(documents))


@torch.no_grad()
def _states(model: PreTrainedModel, batch: MicroBatch) -> tuple[Tensor, Tensor, float | None]:
    """Last hidden states [B, T, H], the head's weight [V, H] and the cap."""
    found: list[tuple[Tensor, Tensor, float | None]] = []
    model.with_head(batch, lambda hidden, weight, cap: found.append((hidden, weight, cap)))
    hidden, weight, cap = found[0]
    return hidden.view(*batch.inputs.shape, -1), weight, cap


def _difference(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().max() / other.std()).item()


def _loss(model: PreTrainedModel, batch: MicroBatch, vocab: int) -> Tensor:
    loss: Tensor = model.distillation_loss(
        batch, objective=LM(), alpha=0.0, divisor=float(len(batch.targets)), vocab=vocab
    )[0]
    return loss


@torch.no_grad()
def _positions(model: PreTrainedModel, context: int) -> float:
    ids = torch.zeros(1, 2, dtype=torch.long)
    try:
        trunk(model)(input_ids=ids, position_ids=torch.tensor([[context - 2, context - 1]]), use_cache=False)
    except (IndexError, RuntimeError):
        return float("inf")
    return 0.0


def _embedding(model: PreTrainedModel) -> float:
    model.zero_grad()
    _loss(model, _text(model), model.config.vocab_size).backward()
    gradient = model.get_input_embeddings().weight.grad
    model.zero_grad()
    return float((gradient.abs().amax(1) == 0).sum())


@torch.no_grad()
def _head(model: PreTrainedModel) -> float:
    batch = _text(model)
    states, weight, cap = _states(model, batch)
    return _difference(
        soft_capped(states @ weight.t(), cap), model(input_ids=batch.inputs, use_cache=False).logits.float()
    )


def _causal(model: PreTrainedModel) -> float:
    batch, seen = _text(model), TOKENS // 2
    other = batch.inputs.clone()
    other[:, seen:] = (other[:, seen:] + 1) % model.config.vocab_size
    one, two = (_states(model, dataclasses.replace(batch, inputs=inputs))[0] for inputs in (batch.inputs, other))
    return _difference(one[:, :seen], two[:, :seen])


def _mask(model: PreTrainedModel) -> float:
    batch = _text(model)
    return _difference(_states(model, _respecting(batch, first=TOKENS))[0], _states(model, batch)[0])


def _packed(model: PreTrainedModel) -> float:
    batch = _text(model)
    together = _states(model, _respecting(batch, first=FIRST_DOCUMENT))[0]
    parts = (slice(0, FIRST_DOCUMENT), slice(FIRST_DOCUMENT, TOKENS))
    alone = [_states(model, dataclasses.replace(batch, inputs=batch.inputs[:, part]))[0] for part in parts]
    return _difference(together, torch.cat(alone, 1))


@torch.no_grad()
def _export(model: PreTrainedModel, folder: Path) -> float:
    vocab = model.config.vocab_size - min(5, model.config.vocab_size // 4)
    write_model(model.config, model.state_dict(), folder, vocab=vocab, bos=None, eos=0, context=TOKENS)
    loaded = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).eval()
    batch = _text(model)
    batch = dataclasses.replace(batch, inputs=batch.inputs % vocab, targets=batch.targets % vocab)
    logits = loaded(input_ids=batch.inputs, use_cache=False).logits.float()
    theirs = F.cross_entropy(logits.flatten(0, 1), batch.targets, reduction="none")
    states, weight, cap = _states(model, batch)
    ours = F.cross_entropy(soft_capped(states @ weight[:vocab].t(), cap).flatten(0, 1), batch.targets, reduction="none")
    return _difference(ours, theirs)


def _resume(model: PreTrainedModel, config: PretrainedConfig, attention: str) -> float:
    vocab, batches = model.config.vocab_size, [_text(model) for _ in range(2)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(batch: MicroBatch, of: PreTrainedModel, by: torch.optim.Optimizer) -> None:
        by.zero_grad()
        _loss(of, batch, vocab).backward()
        by.step()

    step(batches[0], model, optimiser)
    saved = copy.deepcopy((model.state_dict(), optimiser.state_dict()))
    step(batches[1], model, optimiser)
    again = with_loss(from_config(config, attention))
    again.load_state_dict(saved[0])
    resumed = torch.optim.AdamW(again.parameters(), lr=1e-3)
    resumed.load_state_dict(saved[1])
    step(batches[1], again, resumed)
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    return max((one - other).abs().max().item() for one, other in pairs)
