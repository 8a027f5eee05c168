"""The command `inspect`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.progress import slow_work
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import planned
from pdstudy.cli.terminal import say, warn
from pdstudy.core.errors import ConfigError
from pdstudy.core.format import si
from pdstudy.workspace.store_index import merged_ranges, stored_ranges

if TYPE_CHECKING:
    from pdstudy.analysis.figures.plot import Plot

RANGES_SHOWN = 8


def add(command: AddCommand) -> None:
    sub = command("inspect", _inspect, "what a logit store holds: kept entries, bytes, entropy, coding", study=False)
    sub.description = (
        "What a logit store holds, read from the store alone: entries and mass that each p and k keep (the paper's "
        "figures 2 and 3), bytes by part, entropy, the error of coding, tokens whose support it changes. Nothing is "
        "changed."
    )
    sub.add_argument(
        "study",
        metavar="STORE",
        help="a store's folder (workspace/stores/SPEC/COVERAGE), or a study: all it has so far",
    )
    sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")
    sub.add_argument("--figures", type=Path, metavar="DIR", help="draw kept entries against p and k there")


def _inspect(args: argparse.Namespace) -> int:
    from pdstudy.distill.store.inspection import examine

    folder = Path(args.study)
    stores = [folder] if (folder / "manifest.json").exists() else _stores_of(args)
    found = []
    for number, store in enumerate(stores, 1):
        with slow_work(f"inspecting store {number} of {len(stores)}") as progress:
            found.append(examine(store, progress))
    if args.json:
        print_json(found)
    else:
        say("\n\n".join(map(store_text, found)))
    for one in found if args.figures is not None else ():
        for stem, plot in store_figures(one).items():
            for path in plot.save(args.figures / stem):
                warn(str(path))
    return 0


def _stores_of(args: argparse.Namespace) -> list[Path]:
    """The stores of a study that hold anything. Raises `ConfigError` where there are none."""
    if Path(args.study).is_dir() and not any(Path(args.study).glob("*.py")):
        raise ConfigError(f"no logit store at {args.study}: it has no manifest.json; give a store's folder, or a study")
    plan, workspace = planned(args)
    needs = [store.need for store in plan.stores]
    needs += [need for run in plan.runs for need in run.records]
    folders = list(dict.fromkeys(workspace.store(need.spec, need.coverage) for need in needs))
    there = [folder for folder in folders if stored_ranges(folder)]
    if not there:
        raise ConfigError(
            f"{plan.study.name} has no logit store in {workspace.root} yet, of {len(folders)} that it needs; "
            f"`pdstudy run` captures them"
        )
    return there


def store_text(found: dict[str, Any]) -> str:
    """The statistics of a store (`pdstudy.distill.store.inspection.examine`) in words."""
    by_part = found["bytes_per_token_by_part"]
    per_entry = {name: size / found["kept_per_token"] for name, size in by_part.items()}
    stretches = merged_ranges([(first, stop) for first, stop in found["sequences"]])
    parts = ", ".join(f"{part.start} to {part.stop - 1}" for part in stretches[:RANGES_SHOWN])
    more = f" and {len(stretches) - RANGES_SHOWN} more ranges" if len(stretches) > RANGES_SHOWN else ""
    lines = [
        f"store {found['store']}: {found['encoding']}, {si(found['tokens'])} tokens in {found['shards']} shards, "
        f"context {found['context']}, vocabulary {found['vocab']:,}",
        f"  teacher        {found['teacher']}",
        f"  sequences      {parts}{more} of the {found['split']} split",
        f"  kept           {found['kept_per_token']:.2f} entries per token",
        f"  bytes          {found['bytes_per_token']:.1f} per token, {found['bytes_per_entry']:.2f} per entry: "
        + ", ".join(f"{name} {size:.2f}" for name, size in per_entry.items() if size >= 0.005),
        "  entropy        " + ", ".join(f"{float(q):.0%} {v:.2f}" for q, v in found["entropy"].items()) + " nats",
        f"  teacher loss   {found['teacher_loss']:.4f} nats per token on the text itself",
        *_coding_lines(found),
        f"  ties           {found['ties']:.2%} of tokens have equal kept values, ranked by id",
    ]  # fmt: skip
    if found["distinct_draws"] is not None:
        lines.append(f"  draws          {found['distinct_draws']:.1f} distinct ids of {found['coverage']['draws']}")
    lines += ["", f"kept entries per token (mass), over {si(found['positions_read'])} tokens", _grid(found["cuts"])]
    return "\n".join(lines)


def _coding_lines(found: dict[str, Any]) -> list[str]:
    if found["encoding"] == "exact":
        return ["  coding         none: values are exact"]
    coding = found["coding"]
    others = (f"{share:.2%} of tokens at p = {p}" for p, share in coding["other_support"].items())
    return [
        f"  coding         added KL {coding['mean_kl']:.1e} nats on average, {coding['largest_kl']:.1e} at most; "
        f"declared {coding['declared_kl']:.0e} on average",
        f"  other support  {', '.join(others) or 'not measured when this store was written'} (what coding changes in a "
        f"top-p)",
    ]


def _grid(cuts: list[dict[str, Any]]) -> str:
    """Kept entries and mass, a row per p and a column per k."""
    ks = list(dict.fromkeys(cut["k"] for cut in cuts))
    rows = ["   p \\ k" + "".join(f"{'all' if k is None else k:>15}" for k in ks)]
    for p in dict.fromkeys(cut["p"] for cut in cuts):
        entries = "".join(f"{cut['kept']:8.2f} ({cut['mass']:.2f})" for cut in cuts if cut["p"] == p)
        rows.append(f"  {p:<6g}{entries}")
    return "\n".join(rows)


def store_figures(found: dict[str, Any]) -> dict[str, Plot]:
    """The paper's figures 2 and 3 of a store (Peng et al. 2024), by file name."""
    import pandas as pd

    from pdstudy.analysis.figures.stores import kept_against_k, kept_against_p

    cuts = pd.DataFrame(found["cuts"])
    stem = found["store"].replace("/", "-")
    return {
        f"{stem}-kept-p": kept_against_p(cuts, found["positions_read"]),
        f"{stem}-kept-k": kept_against_k(cuts, found["positions_read"]),
    }
