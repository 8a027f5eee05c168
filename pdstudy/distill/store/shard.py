"""Shards of a logit store: a safetensors file of encoded sequences, and the JSON sidecar by which it is verified.

The data are written first, then the sidecar, each atomically: a shard without a sidecar does not exist.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save

from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_bytes, write_json
from pdstudy.corpus import TokenStream
from pdstudy.distill.store.codec import ENTROPY, GOLD, Block, Codec, Encoded, Numbering
from pdstudy.distill.store.quantised import MOST_ADDED_KL, Planes, added_kl
from pdstudy.distill.truncate import mark_kept
from pdstudy.workspace.store_index import stored_ranges

ENTROPY_BINS = 1024
"""Bins of the histogram of entropies in a sidecar: 64 to the nat, the last for all above 16 nats."""


TRIED_PS = (0.5, 0.7, 0.9, 0.95)
"""The p of top-p cuts for which it is measured how often coded values keep other ids than exact ones."""


SIDECAR_FIELDS = {"bytes", "sha256", "tokens_sha256", "tokens", "entries", "entropy_counts", "mean_gold", "added_kl"}
"""Fields of a sidecar that are read, so that every shard has them; the others are for people."""


def entropy_bins(entropy: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The bin of each entropy (nats).

    Entropies are rounded to float16 first, as coded stores keep them, so that counts at writing are those of reading.
    """
    return (entropy.astype(np.float16).astype(np.float32) * 64).clip(0, ENTROPY_BINS - 1).astype(np.int64)


def write_shard(
    directory: Path,
    first: int,
    blocks: Sequence[Block],
    codec: Codec,
    stream: TokenStream,
    context: int,
    seconds: float,
    more_fields: Mapping[str, Any],
) -> None:
    """Store `blocks` as the sequences from `first` on; `seconds`: the time that making them took.

    `more_fields` go into the sidecar, too.
    """
    stop = first + len(blocks)
    numbering = codec.numbering(blocks)
    encoded = [codec.encode(block, numbering) for block in blocks]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    error = measure_coding_error(blocks, encoded, codec, context, numbering)
    tensors = {"data": np.frombuffer(b"".join(encoded), np.uint8), "offsets": offsets}
    data = save(tensors | ({"numbering": numbering.first} if len(numbering.first) else {}))
    columns = np.concatenate([block.columns for block in blocks], axis=1)
    name = f"shard-{first:010d}-{stop:010d}"
    write_bytes(directory / f"{name}.safetensors", data)
    write_json(
        directory / f"{name}.json",
        {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "tokens_sha256": stream.sha256(first * context, stop * context + 1),
            "tokens": len(blocks) * context,
            "entries": sum(int((block.log_probs > -np.inf).sum()) for block in blocks),
            # A histogram: quantiles of the entropy, and routing by it, need not read the store.
            "entropy_counts": np.bincount(entropy_bins(columns[ENTROPY]), minlength=ENTROPY_BINS).tolist(),
            "mean_gold": float(columns[GOLD].mean(dtype=np.float64)),
            "seconds": round(seconds, 3),
            "added_kl": error,
            **more_fields,
        },
    )


def measure_coding_error(
    blocks: Sequence[Block], encoded: Sequence[bytes], codec: Codec, context: int, numbering: Numbering
) -> dict[str, Any]:
    """Measure the mean and the largest KL divergence (nats) that the codec adds to a position, and how often it changes
    a top-p: the share of positions at which other ids are kept than of exact values, for each p of `TRIED_PS`.

    Raises `ConfigError` where the mean is above `MOST_ADDED_KL`.
    """
    if not isinstance(codec, Planes):
        return {"mean": 0.0, "largest": 0.0, "other_support": dict.fromkeys(map(str, TRIED_PS), 0.0)}
    added, other = [], []
    for block, data in zip(blocks, encoded):
        coded = codec.decode([Encoded(np.frombuffer(data, np.uint8), numbering)], context, None)
        added.append(added_kl(block, coded))
        other.append([_count_kept(block, p) != _count_kept(coded, p) for p in TRIED_PS])
    found = np.concatenate(added)
    error = {"mean": float(found.mean()), "largest": float(found.max())}
    if error["mean"] > MOST_ADDED_KL:
        raise ConfigError(
            f"coded values would add {error['mean']:.2g} nats per token to these distributions, more than the "
            f"{MOST_ADDED_KL:g} declared; capture with encoding='exact'"
        )
    shares = np.mean(other, axis=(0, 2)).tolist()
    return {**error, "other_support": dict(zip(map(str, TRIED_PS), shares))}


def _count_kept(block: Block, p: float) -> npt.NDArray[np.int64]:
    """Entries that top-p keeps at each position: that number is all that coding can change, not ids or their order."""
    return mark_kept(torch.from_numpy(block.log_probs), TopPK(p=p, k=None)).sum(1).numpy()


@dataclass(frozen=True, eq=False)
class ShardContent:
    """A shard's encoded blocks: one after another in `data`, their `offsets` (the last is the end), and `first_ids` of
    the shard's `Numbering`."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    first_ids: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Shard:
    """The sequences [first, stop) of the store in `directory`, verified when they are opened."""

    directory: Path
    first: int
    stop: int

    @classmethod
    def all_of(cls, directory: Path) -> list[Shard]:
        """List every complete shard of a store, by its first sequence."""
        return [cls(directory, first, stop) for first, stop in stored_ranges(directory)]

    @property
    def data_file(self) -> Path:
        return self.directory / f"shard-{self.first:010d}-{self.stop:010d}.safetensors"

    @functools.cached_property
    def sidecar(self) -> dict[str, Any]:
        """The JSON beside the data. Raises `ConfigError` where it is damaged or lacks a field that is read."""
        path = self.data_file.with_suffix(".json")
        try:
            found = read_json(path)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _damaged_error(path, "it is not the JSON of a shard")
        lacking = sorted(SIDECAR_FIELDS - set(found))
        if lacking:
            raise _damaged_error(path, f"it lacks {', '.join(lacking)}, which this version of pdstudy reads")
        return found

    def check_size(self) -> None:
        """Raises `ConfigError` where the data file is missing or of another size than its sidecar says."""
        size = self.data_file.stat().st_size if self.data_file.exists() else None
        if size is None:
            raise _damaged_error(self.data_file, "it is missing")
        if size != self.sidecar["bytes"]:
            raise _damaged_error(self.data_file, f"it has {size:,} bytes, its sidecar says {self.sidecar['bytes']:,}")

    def check_error(self) -> None:
        """Raises `ConfigError` where the coding error measured at writing is above what the codec declares."""
        mean = self.sidecar["added_kl"]["mean"]
        if mean > MOST_ADDED_KL:
            raise ConfigError(
                f"{self.data_file} was coded with an error of {mean:.2g} nats per token, above {MOST_ADDED_KL:g}"
            )

    def check_tokens(self, stream: TokenStream, context: int) -> None:
        """Raises `ConfigError` where the shard was captured over other tokens than the corpus has there."""
        if stream.sha256(self.first * context, self.stop * context + 1) != self.sidecar["tokens_sha256"]:
            raise ConfigError(
                f"{self.data_file} was captured over other tokens than sequences {self.first} to {self.stop - 1} of "
                f"the {stream.split} split have; capture a new store from this corpus"
            )

    def open(self) -> ShardContent:
        """Map the content into memory, verified by size and sha256 (once per process and file state).

        Raises `ConfigError` on content that is not what was written.
        """
        self.check_size()
        stat = self.data_file.stat()
        if _hash(self.data_file, stat.st_size, stat.st_mtime_ns)[0] != self.sidecar["sha256"]:
            raise _damaged_error(self.data_file, "its sha256 is not the one in its sidecar")
        mapped = np.memmap(self.data_file, np.uint8, mode="r")
        length = int(mapped[:8].view("<u8")[0])
        header = json.loads(bytes(mapped[8 : 8 + length]))
        payload = np.asarray(mapped[8 + length :])
        parts = {name: payload[slice(*header[name]["data_offsets"])] for name in header if name != "__metadata__"}
        numbering = parts.get("numbering", payload[:0]).view("<u4").astype(np.uint32)
        return ShardContent(parts["data"], parts["offsets"].view("<i8").astype(np.int64), numbering)

    @property
    def checked(self) -> tuple[int, float]:
        """Bytes that were hashed, and the seconds that it took, once opened."""
        stat = self.data_file.stat()
        return stat.st_size, _hash(self.data_file, stat.st_size, stat.st_mtime_ns)[1]


@functools.cache
def _hash(path: Path, size: int, mtime_ns: int) -> tuple[str, float]:
    began = time.perf_counter()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, time.perf_counter() - began


def _damaged_error(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} is damaged: {reason}; delete the shard (its .json and .safetensors) and run again to capture it anew"
    )
