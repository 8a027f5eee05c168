"""The command `inspect`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pdstudy.cli.arguments import Command, Where
from pdstudy.config.logits import StoreNeed
from pdstudy.core.errors import ConfigError
from pdstudy.plan.builder import checked_plan
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import stored_ranges


def add(command: Command, where: Where) -> None:
    sub = command("inspect", _inspect, "what a logit store holds: kept entries, bytes, entropy, coding", study=False)
    sub.description = (
        "What a logit store holds, read from the store alone: entries and mass that each p and k keep (the paper's "
        "figures 2 and 3), bytes by part, entropy, the error of coding, tokens whose support it changes. Nothing is "
        "changed."
    )
    sub.add_argument("store", help="a store's folder (workspace/stores/SPEC/COVERAGE), or a study: all it has so far")
    sub.add_argument("--scale", help="the scale to pass to study(scale); default: the study's own")
    sub.add_argument("--figures", type=Path, metavar="DIR", help="draw kept entries against p and k there")
    sub.set_defaults(where=where)


def _inspect(args: argparse.Namespace) -> int:
    from pdstudy.cli.tables import print_json
    from pdstudy.distill.store.inspection import examine, figures, report

    folder = Path(args.store)
    stores = [folder] if (folder / "manifest.json").exists() else _stores_of(args)
    found = [examine(store) for store in stores]
    if args.json:
        print_json(found)
    else:
        print("\n\n".join(map(report, found)))
    for one in found if args.figures is not None else ():
        for stem, plot in figures(one).items():
            for path in plot.save(args.figures / stem):
                print(path, file=sys.stderr)
    return 0


def _stores_of(args: argparse.Namespace) -> list[Path]:
    """The stores of a study that hold anything. Raises `ConfigError` where there are none."""
    if Path(args.store).is_dir() and not any(Path(args.store).glob("*.py")):
        raise ConfigError(f"no logit store at {args.store}: it has no manifest.json; give a store's folder, or a study")
    workspace: Workspace = args.where(args)
    plan = checked_plan(args.store, args.scale, workspace)
    needs = [i.subject for i in plan.stores if isinstance(i.subject, StoreNeed)]
    needs += [need for item in plan.items for need in item.records]
    folders = list(dict.fromkeys(workspace.store(need.spec, need.coverage) for need in needs))
    there = [folder for folder in folders if stored_ranges(folder)]
    if not there:
        raise ConfigError(
            f"{plan.study.name} has no logit store in {workspace.root} yet, of {len(folders)} that it needs; "
            f"`pdstudy run` captures them"
        )
    return there
