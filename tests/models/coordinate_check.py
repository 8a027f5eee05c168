"""`python -m tests.models.coordinate_check FOLDER`: how far activations move in the first steps, against width.

In a parametrisation whose learning rate transfers, each layer's outputs change by the same amount at all widths. The
changes since initialisation are measured, not the outputs: at the start these are nearly flat in the standard
parametrisation, too, so that a check of them can look right where rates do not transfer (microsoft/mup, issues 22 and
71), and muP's logits shrink with width there, as they should (issue 42). The text is Python's own `inspect.py`, bytes
as tokens.
"""

from __future__ import annotations

import csv
import dataclasses
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from pdstudy.config.model import MuP, Shape, width_multiplier
from pdstudy.config.optimizer import AdamW
from pdstudy.models.build_model import build_model
from pdstudy.train.weight_update import adamw, set_learning_rate

KINDS = ("embedding", "queries", "attention", "feed-forward", "residual stream", "logits")
"""Outputs that are measured, of all layers of a kind together."""

BASE, VOCAB, CONTEXT, ROWS = 32, 256, 64, 8

RATE = 0.0113
"""Learning rate, about the best of width 32 (reports/NOTES.md)."""


def shape(width: int, parametrisation: str, *, tied: bool = True) -> Shape:
    """A student of two layers, heads of 16, with the deviations of `studies/transfer.py`."""
    plain = Shape(
        width=width,
        layers=2,
        heads=width // 16,
        query_groups=width // 16,
        ffn=width * 5 // 2,
        vocab=VOCAB,
        tied=tied,
        init_std=0.4 * width**-0.5,
    )
    if parametrisation == "standard":
        return plain
    return dataclasses.replace(plain, init_std=0.4 * BASE**-0.5, parametrisation=MuP(base_width=BASE))


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets [ROWS, CONTEXT] of a step; those of step -1 are the end of the text."""
    text = torch.frombuffer(bytearray(Path(inspect.__file__).read_bytes()), dtype=torch.uint8).long()
    length = ROWS * CONTEXT
    at = len(text) - length - 1 if step < 0 else step * length
    part = text[at : at + length + 1]
    return part[:-1].view(ROWS, CONTEXT), part[1:].view(ROWS, CONTEXT)


@torch.no_grad()
def outputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """The outputs of each kind on the text's end."""
    found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}

    def keep(kind: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            found[kind].append(output[0] if isinstance(output, tuple) else output)

        return hook

    base = model.base_model
    modules = [("embedding", base.embed_tokens)]
    for layer in base.layers:
        modules += [("queries", layer.self_attn.q_proj), ("attention", layer.self_attn), ("feed-forward", layer.mlp)]
    modules.append(("residual stream", base.layers[-1]))
    handles = [module.register_forward_hook(keep(kind)) for kind, module in modules]
    found["logits"].append(model(input_ids=batch(-1)[0], use_cache=False).logits)
    for handle in handles:
        handle.remove()
    return {kind: torch.cat([each.flatten() for each in parts]) for kind, parts in found.items()}


def changes(student: Shape, *, steps: int, seed: int = 0, rate: float = RATE) -> dict[str, float]:
    """The root mean square change of each kind's outputs in the first `steps` updates."""
    model = build_model(student, seed=seed, attention="eager")
    before = outputs(model)
    optimiser = adamw(model, AdamW(lr=rate), width_multiplier(student))
    set_learning_rate(optimiser, rate)
    for step in range(steps):
        inputs, targets = batch(step)
        logits = model(input_ids=inputs, use_cache=False).logits
        optimiser.zero_grad()
        cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        optimiser.step()
    after = outputs(model)
    return {kind: (after[kind] - before[kind]).square().mean().sqrt().item() for kind in KINDS}


def slope(widths: list[int], values: list[float]) -> float:
    """The exponent of width in a least-squares power law."""
    x, y = ([math.log(v) for v in values] for values in (widths, values))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def main(folder: Path, steps: int = 10, seeds: int = 3) -> None:
    """Print the table, and write it and its figure to `folder`."""
    widths = [32, 64, 128, 256, 512]
    lines: dict[str, dict[str, list[float]]] = {}
    torch.set_num_threads(1)
    for name, tied in (("standard", True), ("muP", True), ("muP, untied", False)):
        found = {kind: [0.0] * len(widths) for kind in KINDS}
        for i, width in enumerate(widths):
            student = shape(width, name.split(",")[0], tied=tied)
            each = [changes(student, steps=steps, seed=seed) for seed in range(seeds)]
            for kind in KINDS:  # geometric mean over seeds
                found[kind][i] = math.exp(sum(math.log(one[kind]) for one in each) / seeds)
        lines[name] = found
        for kind in KINDS:
            shown = " ".join(f"{value:7.3f}" for value in found[kind])
            print(f"{name:12} {kind:16} {shown}  width^{slope(widths, found[kind]):+.2f}")
    write(folder, widths, lines, steps)


def write(folder: Path, widths: list[int], lines: dict[str, dict[str, list[float]]], steps: int) -> None:
    import matplotlib.pyplot as plt

    from pdstudy.analysis.figures.style import LOOKS, styled

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "coordinates.csv").open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("parametrisation", "layer", "width", "rms_change"))
        for name, found in lines.items():
            table.writerows((name, k, w, f"{v:.4g}") for k in KINDS for w, v in zip(widths, found[k], strict=True))
    with styled():
        figure, panels = plt.subplots(1, len(lines), figsize=(8.4, 2.9), sharey=True, layout="constrained")
        for panel, (name, found) in zip(panels, lines.items(), strict=True):
            for kind, look in zip(KINDS, LOOKS, strict=False):
                panel.plot(widths, found[kind], color=look.colour, marker=look.marker, ls=look.dash, label=kind)
            panel.set(xscale="log", yscale="log", title=name, xlabel="width")
            panel.set_xticks(widths, [str(width) for width in widths])
            panel.minorticks_off()
        panels[0].set_ylabel(f"RMS change in {steps} steps")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        figure.savefig(folder / "coordinates.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
