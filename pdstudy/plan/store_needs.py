"""The logit stores of a plan: what runs need of each, and which folder of the workspace serves it.

Runs of one teacher, text and view share a store. It is captured at the smallest coverage that serves all of them, over
the stretches that they read: what lies between may be the teacher's own text.
"""

from __future__ import annotations

from pdstudy.config.logits import Coverage, StoreNeed, StoreSpec, conflict, union
from pdstudy.config.run import Online, Run
from pdstudy.core.files import read_json
from pdstudy.core.format import si
from pdstudy.core.identity import decode, fingerprint
from pdstudy.core.validation import Problem
from pdstudy.plan.artifact import StoreArtifact
from pdstudy.plan.cost import bytes_per_token, teacher_flops, vocabulary
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import holds, merged_ranges


class StoreNeeds:
    """The needs of a study's runs, gathered one by one."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._needs: dict[StoreSpec, tuple[set[Coverage], set[tuple[int, int]]]] = {}

    def add(self, spec: StoreSpec, coverage: Coverage, sequences: range) -> Problem | None:
        """Note a need. Returns why the one store of a teacher and view cannot hold it beside the others, if so."""
        coverages, ranges = self._needs.setdefault(spec, (set(), set()))
        ranges.add((sequences.start, sequences.stop))
        found = conflict([*coverages, coverage])
        if found is None:
            coverages.add(coverage)
        return found

    def resolve(self) -> tuple[dict[StoreNeed, StoreArtifact], list[StoreNeed]]:
        """Stores to capture, and those that a run writes as it trains."""
        captured: dict[StoreNeed, StoreArtifact] = {}
        written: list[StoreNeed] = []
        for spec, (coverages, ranges) in self._needs.items():
            stretches = merged_ranges(ranges)
            for sequences in stretches:
                coverage, done = self._find(spec, coverages, sequences)
                need = StoreNeed(spec, coverage, sequences)
                if isinstance(spec.teacher, Online):
                    written.append(need)
                else:
                    captured[need] = store_artifact(need, done, alone=len(stretches) == 1)
        return captured, written

    def _find(self, spec: StoreSpec, coverages: set[Coverage], sequences: range) -> tuple[Coverage, bool]:
        """The coverage of a store that admits all of `coverages`, and whether it holds the sequences.

        One that holds them goes before one that does not; where none admits all, it is their union, to be captured.
        """
        folder = self._workspace.stores(spec)
        short: Coverage | None = None
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            mend = f"move {path} away and run again to capture anew"
            manifest = read_json(path / "manifest.json", mend, ("coverage",))
            if manifest is None:
                continue
            coverage = decode(manifest["coverage"])
            if all(coverage.admits(wanted) for wanted in coverages):
                if holds(path, sequences):
                    return coverage, True
                short = short or coverage
        return short or union(coverages), False


def store_artifact(need: StoreNeed, done: bool, *, alone: bool) -> StoreArtifact:
    """The capture of one stretch; `alone` where its store has no other."""
    spec, sequences = need.spec, need.sequences
    assert not isinstance(spec.teacher, Online)
    key = f"{fingerprint(spec)}/{need.coverage.label}"
    if not alone:
        key += f"@{sequences.start}-{sequences.stop}"
    tokens = len(sequences) * spec.view.context
    trained = (fingerprint(spec.teacher),) if isinstance(spec.teacher, Run) else ()
    return StoreArtifact(
        key=key,
        label=f"{need.coverage.label}, {si(tokens)} tokens",
        done=done,
        state="done" if done else "new",
        needs=(fingerprint(spec.corpus), *trained),
        flops=teacher_flops(spec.teacher, spec.view.context) * tokens,
        bytes=tokens * bytes_per_token(need.coverage, vocabulary(spec.teacher)),
        need=need,
    )
