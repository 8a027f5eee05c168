"""The logit store: a teacher's distributions over a stream of tokens, addressed by sequence of a view's grid.

A store is a folder: `manifest.json` says what it is (never rewritten), and shards hold ranges of sequences. Shards may
come from several writers and be appended at any time; a store holds what its complete shards hold. One store serves
every slice, batch size, order and token budget, and every truncation that its coverage admits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdstudy.config.logits import Coverage, Encoding, StoreSpec, union
from pdstudy.config.normal_form import normal_teacher
from pdstudy.config.truncation import TopPK, Truncation
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.identity import decode, encode, fingerprint
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.signal import SparseTargets
from pdstudy.distill.store.codec import COLUMNS, ENTROPY, Block, Codec, Encoded, Exact, Numbering
from pdstudy.distill.store.quantised import Planes
from pdstudy.distill.store.shard import ENTROPY_BINS, Shard, ShardContent, entropy_bins, write_shard
from pdstudy.distill.truncate import cut
from pdstudy.workspace.store_index import missing_ranges, stored_ranges

MANIFEST_FIELDS = {"format", "identity", "weights", "coverage", "codec", "context", "vocab", "spec"}
"""Fields of a manifest without which a store cannot be read."""


def identify(spec: StoreSpec, corpus: TokenCorpus) -> dict[str, str]:
    """Identify what a store and its readers must share, part by part, so that a refusal can say what differs."""
    return {
        "tokenizer": corpus.tokenizer_hash,
        "corpus": str(corpus.manifest["fingerprint"]),
        "view": fingerprint(spec.view),
        "split": spec.split,
        "teacher": fingerprint(normal_teacher(spec.teacher)),
    }


def choose_codec(coverage: Coverage, vocab: int) -> Codec:
    """The codec for what `coverage` keeps."""
    columns = len(COLUMNS) + len(coverage.taus)
    if coverage.encoding != "exact":
        return Planes(vocab=vocab, columns=columns, draws=coverage.draws)
    weighted = coverage.draws > 0 and coverage.exponent != 1
    return Exact(vocab=vocab, columns=columns, draws=coverage.draws, weighted=weighted)


class StoreWriter:
    """Adds shards to the store at `directory`, making it where there is none.

    `weights` is the sha256 of the teacher's weights, None where they move. Raises `ConfigError` where the folder holds
    another store.
    """

    def __init__(
        self, directory: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, weights: str | None
    ) -> None:
        self._since = time.perf_counter()
        self._directory = directory
        self._stream = corpus.stream(spec.split)
        self._context = spec.view.context
        self._codec = choose_codec(coverage, corpus.vocab)
        known = {
            "format": self._codec.format,
            "identity": identify(spec, corpus),
            "weights": weights,
            "coverage": encode(coverage),
            "codec": encode(self._codec),
            "context": spec.view.context,
            "vocab": corpus.vocab,
        }
        stored = read_manifest(directory)
        if stored is None:
            _refuse_nameless(directory)
            write_json(directory / "manifest.json", {**known, "spec": encode(spec)})
        else:
            for field, value in known.items():
                if stored[field] != value:
                    raise ConfigError(
                        f"{directory} holds another store: its {field} is {stored[field]}, this capture has {value}; "
                        f"move it away to capture anew"
                    )

    def missing(self, sequences: range) -> list[range]:
        """Parts of `sequences` that no shard holds yet."""
        return missing_ranges(self._directory, sequences)

    def write(self, first: int, blocks: Sequence[Block], more_fields: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Store the sequences from `first` on as one new shard, there whole or not at all; see `write_shard`.

        The sidecar's seconds are the time since the last shard, or since this writer was made.
        """
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        write_shard(self._directory, first, blocks, self._codec, self._stream, self._context, seconds, more_fields)


def open_store(
    directory: Path, *, spec: StoreSpec, corpus: TokenCorpus, wanted: Truncation | Coverage, sequences: range
) -> StoreReader:
    """Open a store to read `sequences`, for a truncation or for all that an objective needs (`required_coverage`).

    Raises `ConfigError` where tokenizer, corpus, view, split or teacher (it says which) are others, the coverage does
    not admit what is wanted, sequences are missing, or a shard is damaged. Content (sha256 of each shard and of the
    tokens under it) is verified when a shard is first read.
    """
    stored = read_manifest(directory)
    if stored is None:
        _refuse_nameless(directory)
        raise ConfigError(f"no logit store at {directory}: it has no manifest.json; `pdstudy run` captures it")
    for part, here in identify(spec, corpus).items():
        if stored["identity"][part] != here:
            raise ConfigError(
                f"the store {directory} was captured with another {part}: {stored['identity'][part]}, this run has "
                f"{here}; capture one for this run"
            )
    coverage = decode(stored["coverage"])
    if not coverage.admits(wanted):
        serving = _suggest_coverage(coverage, wanted)
        raise ConfigError(
            f"the store {directory} keeps {coverage.label}, which cannot serve {wanted}; capture with a coverage "
            f"of {serving.label}: {serving}"
        )
    return StoreReader(directory, stored, corpus, spec, sequences)


class StoreReader:
    """Reads a store that `open_store` has checked. Shards are memory-mapped; only wanted sequences are decoded."""

    def __init__(
        self, directory: Path, manifest: dict[str, Any], corpus: TokenCorpus, spec: StoreSpec, sequences: range
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self._stream = corpus.stream(spec.split)
        self._context = spec.view.context
        self._codec: Codec = decode(manifest["codec"])
        self._coverage: Coverage = decode(manifest["coverage"])
        wanted = range(sequences.start, max(sequences.stop, sequences.start))
        shards = [s for s in Shard.all_of(directory) if s.first < wanted.stop and wanted.start < s.stop]
        missing = missing_ranges(directory, wanted)
        if missing:
            listed = ", ".join(str(m.start) if len(m) == 1 else f"{m.start} to {m.stop - 1}" for m in missing[:8])
            more = f" and {len(missing) - 8} more ranges" if len(missing) > 8 else ""
            raise ConfigError(
                f"the store {directory} lacks sequences {listed}{more} of the {spec.split} split; capture them "
                f"(`pdstudy run` does)"
            )
        # Shards of two captures may overlap: each serves the part that none before it has. Together they are `wanted`.
        self._parts: list[tuple[Shard, range]] = []
        at = wanted.start
        for shard in shards:
            shard.check_size()
            shard.check_error()
            part = range(at, min(shard.stop, wanted.stop))
            if part:
                self._parts.append((shard, part))
                at = part.stop
        self._starts = np.array([part.start for _, part in self._parts])
        self._vocab = int(manifest["vocab"])
        self._opened: dict[int, tuple[ShardContent, Numbering]] = {}

    def signal(self, sequences: npt.NDArray[np.int64], truncation: Truncation) -> SparseTargets:
        """The teacher's signal for `sequences` (absolute indices), N = len(sequences) * context rows."""
        # A smaller k needs no more than the first places of each row, unless tempered tails must take in the others.
        k = truncation.k if isinstance(truncation, TopPK) and not self._coverage.taus else None
        block = self._codec.decode([self._encoded(int(sequence)) for sequence in sequences], self._context, k)
        columns = torch.from_numpy(block.columns)
        named = dict(zip(COLUMNS, columns, strict=False))
        signal = SparseTargets(
            ids=torch.from_numpy(block.ids),
            log_probs=torch.from_numpy(block.log_probs),
            **named,
            tempered=columns[len(COLUMNS) :].T,
            taus=self._coverage.taus,
            entropy_rank=self._rank(named["entropy"]),
            drawn=torch.from_numpy(block.drawn),
            drawn_weights=torch.from_numpy(block.drawn_weights),
        )
        return cut(signal, truncation)

    def _rank(self, entropy: Tensor) -> Tensor:
        """The share of this reader's tokens whose entropy lies in a lower bin (`entropy_bins`) than each of these."""
        return self._shares_below[torch.from_numpy(entropy_bins(entropy.numpy()))]

    @functools.cached_property
    def _shares_below(self) -> Tensor:
        """The share of this reader's tokens below each bin.

        In a shard that has other sequences besides, only the reader's count: a run's routing must not depend on how the
        store was cut into shards, or on what else it holds.
        """
        counts = np.zeros(ENTROPY_BINS, np.int64)
        for shard, part in self._parts:
            if part == range(shard.first, shard.stop):
                counts += shard.sidecar["entropy_counts"]
                continue
            for sequence in part:
                block = self._codec.decode([self._encoded(sequence)], self._context, 1)
                counts += np.bincount(entropy_bins(block.columns[ENTROPY]), minlength=ENTROPY_BINS)
        return torch.from_numpy((np.cumsum(counts) - counts) / counts.sum()).float()

    @property
    def checked(self) -> tuple[int, float]:
        """Bytes of shards hashed so far, and MB/s."""
        checked = [self._parts[i][0].checked for i in self._opened]
        size, seconds = sum(c[0] for c in checked), sum(c[1] for c in checked)
        return size, size / 1e6 / max(seconds, 1e-9)

    def _encoded(self, sequence: int) -> Encoded:
        index = int(np.searchsorted(self._starts, sequence, side="right")) - 1
        shard = self._parts[index][0]
        if index not in self._opened:
            opened = shard.open()
            shard.check_tokens(self._stream, self._context)
            self._opened[index] = opened, Numbering(opened.first_ids, self._vocab)
        opened, numbering = self._opened[index]
        start, stop = opened.offsets[sequence - shard.first :][:2]
        return Encoded(opened.data[start:stop], numbering)


def _suggest_coverage(coverage: Coverage, wanted: Truncation | Coverage) -> Coverage:
    """The coverage to capture for `wanted`, together with the store's own where one store can hold both."""
    try:
        return union([coverage, wanted])
    except ConfigError:
        return union([wanted])


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Read the manifest of the store in a folder; None where there is none.

    Raises `ConfigError` on another format, on an encoding of earlier versions, and where it is damaged.
    """
    path = directory / "manifest.json"
    mend = f"move {directory} away and capture anew"
    stored: dict[str, Any] | None = read_json(path, mend)
    if stored is None:
        return None
    lacking = sorted(MANIFEST_FIELDS - set(stored)) if isinstance(stored, dict) else ["every field of a store"]
    if lacking:
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(lacking)}; {mend}")
    if (encoding := stored["coverage"].get("encoding", "exact")) not in get_args(Encoding):
        raise ConfigError(f"{path} has encoding {encoding!r}; this pdstudy reads {get_args(Encoding)}; {mend}")
    reads = getattr(decode(stored["codec"]), "format", None)
    if stored["format"] != reads:
        raise ConfigError(f"{path} has format {stored['format']}, this pdstudy reads {reads} for what it keeps; {mend}")
    return stored


def _refuse_nameless(directory: Path) -> None:
    """Raise `ConfigError` where a folder has shards, which without a manifest could be any teacher's."""
    if stored_ranges(directory):
        raise ConfigError(
            f"{directory} has shards, but no manifest.json, which says whose distributions they are: restore it, or "
            f"move {directory} away and run again to capture anew"
        )
