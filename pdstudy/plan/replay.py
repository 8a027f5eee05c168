"""Replay: steps of a run that are trained once more, for a model or logits that they did not leave the first time.

Another study may need the model that a run had on its way, or its distributions over its own text, when the steps that
leave them are over. Equal steps give equal numbers, so those that matter are trained again beside the run (`again/` in
its folder), from the nearest checkpoint before them and no further than needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pdstudy.config.run import Run
from pdstudy.core.run_files import find_damage
from pdstudy.workspace.run_dir import RunDir
from pdstudy.workspace.store_index import missing_ranges


@dataclass(frozen=True)
class Replay:
    """Steps of a run to train once more: those after `first` (the most that may be left out) up to `until`."""

    exports: tuple[int, ...]
    first: int
    until: int

    def start(self, directory: RunDir) -> int:
        """The step of the nearest checkpoint that the run has left before them."""
        return max((step for step in directory.saved if step <= self.first), default=0)


def replay_needed(
    run: Run, directory: RunDir, exports: Iterable[int], records: Iterable[tuple[Path, range]]
) -> Replay | None:
    """Steps that have to be trained again for the models after the steps `exports` and for `records`, each a store's
    folder and the sequences of the run's text that it is to hold; None where nothing that is over is lacking."""
    if find_damage(directory.path) is not None:
        return None
    finished = directory.result() is not None
    # A run that goes on from its newest checkpoint can leave the model of that step; a finished one leaves no more.
    passed = run.num_steps + 1 if finished else max(directory.saved, default=0)
    missed = tuple(sorted(step for step in exports if step < passed and not directory.export(step).exists()))
    firsts, untils = list(missed), list(missed)
    begin, count = run.view.sequences(run.data).start, run.text_sequences_per_step
    for folder, sequences in records:
        for part in missing_ranges(folder, sequences):
            first, until = (part.start - begin) // count, -(-(part.stop - begin) // count)
            if first < min(passed, run.num_steps):
                firsts.append(first)
                untils.append(min(until, passed, run.num_steps))
    return Replay(missed, min(firsts), max(untils)) if firsts else None
