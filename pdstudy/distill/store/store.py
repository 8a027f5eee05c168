"""The logit store: what a teacher said about a stream of tokens, addressed by sequence of a view's grid.

A store is a folder: `manifest.json` says what it is (never rewritten), and shards hold ranges of sequences. Shards may
come from several writers and be appended at any time; what the store holds is what its complete shards hold. One store
serves every slice, batch size, order and token budget, and every truncation that its coverage admits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdstudy.config.logits import Coverage, StoreSpec, union
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

MANIFEST_FIELDS = {"format", "identity", "weights", "coverage", "codec", "context", "vocab", "spec"}
"""Fields of a manifest that reading needs."""


def store_identity(spec: StoreSpec, corpus: TokenCorpus) -> dict[str, str]:
    """What a store and its readers must share, part by part, so that a refusal can say what differs."""
    return {
        "tokenizer": corpus.tokenizer_hash,
        "corpus": str(corpus.manifest["fingerprint"]),
        "view": fingerprint(spec.view),
        "split": spec.split,
        "teacher": fingerprint(normal_teacher(spec.teacher)),
    }


def choose_codec(coverage: Coverage, vocab: int) -> Codec:
    """The codec that holds what `coverage` keeps."""
    columns = len(COLUMNS) + len(coverage.taus)
    if coverage.encoding != "exact":
        return Planes(vocab=vocab, compressed=coverage.encoding == "small", columns=columns, draws=coverage.draws)
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
            "identity": store_identity(spec, corpus),
            "weights": weights,
            "coverage": encode(coverage),
            "codec": encode(self._codec),
            "context": spec.view.context,
            "vocab": corpus.vocab,
        }
        stored = read_manifest(directory)
        if stored is None:
            write_json(directory / "manifest.json", {**known, "spec": encode(spec)})
        else:
            for field, value in known.items():
                if stored[field] != value:
                    raise ConfigError(
                        f"{directory} holds another store: its {field} is {stored[field]}, this capture has {value}; "
                        f"move it away to capture anew"
                    )

    def missing(self, sequences: range) -> list[range]:
        """The parts of `sequences` that no shard holds yet."""
        return find_missing(Shard.all_of(self._directory), sequences)

    def write(self, first: int, blocks: Sequence[Block], beside: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Store the sequences from `first` on: one new shard, there whole or not at all; `beside`: see `write_shard`.

        The time since the last shard (or since this writer was made) is noted as what the shard took.
        """
        now = time.perf_counter()
        write_shard(self._directory, first, blocks, self._codec, self._stream, self._context, now - self._since, beside)
        self._since = now


def open_store(
    directory: Path, *, spec: StoreSpec, corpus: TokenCorpus, wanted: Truncation | Coverage, sequences: range
) -> StoreReader:
    """Open a store for reading `sequences`, for a truncation or for all that an objective needs (`coverage.needed`).

    Raises `ConfigError`, saying which, where tokenizer, corpus, view, split or teacher are others, the coverage does
    not admit what is wanted, sequences are missing, or a shard is damaged. Content (sha256 of each shard and of the
    tokens under it) is checked when a shard is first read.
    """
    stored = read_manifest(directory)
    if stored is None:
        raise ConfigError(f"no logit store at {directory}: it has no manifest.json; `pdstudy run` captures it")
    for part, here in store_identity(spec, corpus).items():
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
    """Reads a checked store; made by `open_store`. Shards are memory-mapped, only wanted sequences are decoded."""

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
        missing = find_missing(shards, wanted)
        if missing:
            listed = ", ".join(str(m.start) if len(m) == 1 else f"{m.start} to {m.stop - 1}" for m in missing[:8])
            more = f" and {len(missing) - 8} more ranges" if len(missing) > 8 else ""
            raise ConfigError(
                f"the store {directory} lacks sequences {listed}{more} of the {spec.split} split; capture them "
                f"(`pdstudy run` does)"
            )
        # Shards of two captures may overlap: of each, the part that none before it has. Together they are `wanted`.
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
        """The truncated teacher for `sequences` (absolute indices), flattened to N = len(sequences) * context rows."""
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
            entropy_rank=self._rank_of(named["entropy"]),
            drawn=torch.from_numpy(block.drawn),
            drawn_weights=torch.from_numpy(block.drawn_weights),
        )
        return cut(signal, truncation)

    def _rank_of(self, entropy: Tensor) -> Tensor:
        """The share of the tokens of this reader's sequences whose entropy lies in a lower bin (`entropy_bins`)."""
        return self._below[torch.from_numpy(entropy_bins(entropy.numpy()))]

    @functools.cached_property
    def _below(self) -> Tensor:
        """That share for each bin. Of a shard that has other sequences besides, only the reader's count: what a run
        reads must not depend on how the store was cut into shards, or on what else it holds."""
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
        """Bytes of shards hashed so far, and MB/s of it."""
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
    """What to capture for `wanted`: with what the store serves already, where one store can hold both."""
    try:
        return union([coverage, wanted])
    except ConfigError:
        return union([wanted])


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """What the store in a folder says it is; None where there is none. Raises `ConfigError` on another format, or
    where it is damaged."""
    path = directory / "manifest.json"
    mend = f"move {directory} away and capture anew"
    stored: dict[str, Any] | None = read_json(path, mend)
    if stored is None:
        return None
    lacking = sorted(MANIFEST_FIELDS - set(stored)) if isinstance(stored, dict) else ["all that a store says of itself"]
    if lacking:
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(lacking)}; {mend}")
    reads = getattr(decode(stored["codec"]), "format", None)
    if stored["format"] != reads:
        raise ConfigError(f"{path} has format {stored['format']}, this pdstudy reads {reads} for what it keeps; {mend}")
    return stored


def find_missing(shards: Sequence[Shard], sequences: range) -> list[range]:
    out = []
    at = sequences.start
    for shard in shards:
        if shard.first > at:
            out.append(range(at, min(shard.first, sequences.stop)))
        at = max(at, shard.stop)
        if at >= sequences.stop:
            break
    if at < sequences.stop:
        out.append(range(at, sequences.stop))
    return out
