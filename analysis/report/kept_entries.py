"""Entries that a captured store keeps per token at each p and k, beside the paper's figures 2 and 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pdstudy.analysis.figures.stores import kept_against_k, kept_against_p
from pdstudy.analysis.report.page import Block, Text
from pdstudy.analysis.tables.builders import fixed
from pdstudy.analysis.tables.paper import published
from pdstudy.analysis.tables.table import Table, TableCell
from pdstudy.core.files import read_json
from pdstudy.core.format import si


def kept_blocks(workspace: Path, store: str) -> list[Block]:
    """Figures and a table out of the store's inspect.json, or why there are none."""
    found = read_json(workspace / "stores" / store / "inspect.json")
    if found is None:
        return [Text("Not shown: the store has not been captured yet.")]
    cuts: pd.DataFrame = pd.DataFrame(found["cuts"])
    read = found["positions_read"]
    return [kept_against_p(cuts, read), kept_against_k(cuts, read), _tabulate_beside_paper(found["cuts"], read)]


def _tabulate_beside_paper(cuts: list[dict[str, float]], read: int) -> Table:
    """A row per cut of the paper's two figures: entries and mass kept here, entries kept there."""
    kept = published()["kept"]
    theirs = {(float(p), 100.0): n for p, n in kept["p, k = 100"].items()}
    theirs |= {(float(p), np.inf): n for p, n in kept["p, no k"].items()}
    theirs |= {(0.95, float(k)): n for k, n in kept["k, p = 0.95"].items()}
    ours = {(cut["p"], np.inf if cut["k"] is None else float(cut["k"])): cut for cut in cuts}
    rows = []
    for (p, k), paper in theirs.items():
        if (p, k) in ours:
            entries, mass = ours[p, k]["kept"], ours[p, k]["mass"]
            cells = (
                TableCell(fixed(entries, 2), entries),
                TableCell(fixed(mass, 3), mass),
                TableCell(f"{paper:g}", paper),
            )
            rows.append((f"top-{p:g}-{'inf' if np.isinf(k) else f'{k:.0f}'}", *cells))
    caption = (
        f"Mean entries and mass kept of a token, over {si(read)} tokens, beside the paper's, read off its figures 2 "
        "and 3 (10M tokens). top-1-k keeps k."
    )
    return Table(("cut", "kept", "mass", "kept in the paper"), tuple(rows), caption)
