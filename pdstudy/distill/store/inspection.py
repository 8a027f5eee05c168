"""Statistics of a logit store, read from the store alone, without its corpus or its teacher."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, write_json
from pdstudy.core.progress import Progress, no_progress
from pdstudy.workspace.store_index import stored_ranges

if TYPE_CHECKING:
    from pdstudy.config.logits import Coverage
    from pdstudy.config.run import Online, Pretrained, Run


PS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
KS = (1, 3, 5, 10, 20, 50, 100)
"""The truncations of the paper's figures 2 and 3 (Peng et al. 2024)."""

POSITIONS = 500_000
"""Positions decoded at most: sequences evenly spread over the store. Bytes and entropies are of all of it."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def examine(directory: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Statistics of the store in a folder, as plain JSON data.

    Raises `ConfigError` where the folder is no store of this version, holds nothing, or is damaged.
    """
    from pdstudy.core.identity import decode
    from pdstudy.distill.store.shard import Shard
    from pdstudy.distill.store.store import read_manifest

    manifest = read_manifest(directory)
    if manifest is None:
        raise ConfigError(f"no logit store at {directory}: it has no manifest.json; give a store's folder, or a study")
    shards = Shard.all_of(directory)
    if not shards:
        raise ConfigError(f"the store {directory} has no complete shard yet; `pdstudy run` captures them")
    coverage: Coverage = decode(manifest["coverage"])
    tokens, entries = (sum(shard.sidecar[name] for shard in shards) for name in ("tokens", "entries"))
    with _one_thread():
        seen = _read(shards, manifest, coverage, progress)
    size = sum(shard.sidecar["bytes"] for shard in shards)
    planes = {name: part / seen["positions"] for name, part in seen["planes"].items()}
    planes["shards"] = size / tokens - sum(planes.values())  # offsets, numberings, headers
    return {
        "store": f"{directory.resolve().parent.name}/{directory.resolve().name}",
        "teacher": _teacher(decode(manifest["spec"]).teacher),
        "split": manifest["spec"]["split"],
        "coverage": manifest["coverage"],
        "encoding": coverage.encoding,
        "context": manifest["context"],
        "vocab": manifest["vocab"],
        "shards": len(shards),
        "tokens": tokens,
        "sequences": [[shard.first, shard.stop] for shard in shards],
        "bytes": size,
        "bytes_per_token": size / tokens,
        "bytes_per_entry": size / entries,
        "bytes_per_token_by_part": planes,
        "kept_per_token": entries / tokens,
        "positions_read": seen["positions"],
        "cuts": seen["cuts"],
        "ties": seen["ties"] / seen["positions"],
        "distinct_draws": seen["distinct"] / seen["positions"] if coverage.draws else None,
        "entropy": _entropy(shards),
        "teacher_loss": -sum(s.sidecar["mean_gold"] * s.sidecar["tokens"] for s in shards) / tokens,
        "coding": _coding(shards, coverage),
    }


def look_into(stores: Iterable[Path]) -> None:
    """Leave `examine`'s findings in each store as inspect.json, for reports; those that are there and whole stay.

    A damaged store is left out: a report is of what can be read, and `pdstudy inspect` names the file. So is one that
    can't be written to.
    """
    for directory in stores:
        shards = [list(shard) for shard in stored_ranges(directory)]
        if shards and (read_json(directory / "inspect.json") or {}).get("sequences") != shards:
            with contextlib.suppress(ConfigError, OSError):
                write_json(directory / "inspect.json", examine(directory))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch: a sequence's tensors are so small that handing them to threads costs many times the work
    (26 s against 1.5 s for 30,000 positions on two busy cores)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _teacher(teacher: Run | Pretrained | Online) -> str:
    """A teacher's folder, or the key of the run that made it."""
    from pdstudy.config.normal_form import normal_form
    from pdstudy.config.run import Online, Pretrained
    from pdstudy.core.identity import fingerprint

    if isinstance(teacher, Pretrained):
        return teacher.path
    run = teacher.run if isinstance(teacher, Online) else teacher
    return f"run {fingerprint(normal_form(run))}" + (" as it trained" if isinstance(teacher, Online) else "")


def _read(shards: list[Any], manifest: dict[str, Any], coverage: Coverage, progress: Progress) -> dict[str, Any]:
    """Sums over the positions that are decoded."""
    import numpy as np

    from pdstudy.core.identity import decode
    from pdstudy.distill.store.codec import Encoded, Numbering

    codec, context = decode(manifest["codec"]), manifest["context"]
    sequences = sum(shard.stop - shard.first for shard in shards)
    stride = -(-sequences * context // POSITIONS)
    wanted = _cuts(coverage)
    sums = {cut: np.zeros(2) for cut in wanted}
    planes: dict[str, int] = {}
    positions = ties = distinct = 0
    at = 0
    for shard in shards:
        progress("decode the store", at / sequences)
        opened = shard.open()
        numbering = Numbering(opened.first_ids, manifest["vocab"])
        for index in range(-at % stride, shard.stop - shard.first, stride):
            data = opened.data[opened.offsets[index] : opened.offsets[index + 1]]
            block = codec.decode([Encoded(data, numbering)], context, None)
            for name, size in codec.sizes(data, context).items():
                planes[name] = planes.get(name, 0) + size
            for cut, (kept, mass) in zip(wanted, _kept_of(block.log_probs, wanted)):
                sums[cut] += kept, mass
            positions += context
            values = block.log_probs
            ties += int(((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)).any(1).sum())
            distinct += sum(len(set(row)) for row in block.drawn.tolist())
        at += shard.stop - shard.first
    cuts = [{"p": p, "k": k, "kept": n / positions, "mass": m / positions} for (p, k), (n, m) in sums.items()]
    return {"positions": positions, "planes": planes, "cuts": cuts, "ties": ties, "distinct": distinct}


def _cuts(coverage: Coverage) -> list[tuple[float, int | None]]:
    """The (p, k) of the paper's figures that the store's coverage admits, its own limits included."""
    ps = [p for p in PS if p < coverage.p] + [coverage.p]
    ks: list[int | None] = [k for k in KS if coverage.k is None or k < coverage.k]
    return list(itertools.product(ps, [*ks, coverage.k]))


def _kept_of(log_probs: Any, wanted: list[tuple[float, int | None]]) -> list[tuple[float, float]]:
    """Sums over positions of how many entries each cut keeps, and of their mass."""
    import numpy as np
    import torch

    from pdstudy.config.truncation import TopPK
    from pdstudy.distill.truncate import mark_kept

    mass = np.exp(log_probs.astype(np.float64)).cumsum(1)
    rows = np.arange(len(mass))
    by_p = {
        p: mark_kept(torch.from_numpy(log_probs), TopPK(p=p, k=None)).sum(1).numpy() for p in {p for p, _ in wanted}
    }
    out = []
    for p, k in wanted:
        number = by_p[p] if k is None else np.minimum(by_p[p], k)
        out.append((float(number.sum()), float(mass[rows, number - 1].sum())))
    return out


def _entropy(shards: list[Any]) -> dict[str, float]:
    """Quantiles over all positions, in nats, to the 1/64 nat of the sidecars' counts."""
    import numpy as np

    counts = np.sum([shard.sidecar["entropy_counts"] for shard in shards], axis=0)
    shares = np.cumsum(counts) / counts.sum()
    return {f"{q:g}": float((np.searchsorted(shares, q) + 0.5) / 64) for q in QUANTILES}


def _coding(shards: list[Any], coverage: Coverage) -> dict[str, Any]:
    """Changes by coding, as measured when the shards were written: means over positions, and the largest."""
    from pdstudy.distill.store.quantised import MOST_ADDED_KL

    errors, tokens = [s.sidecar["added_kl"] for s in shards], [s.sidecar["tokens"] for s in shards]
    cuts = set.intersection(*(set(error.get("other_support", {})) for error in errors))
    return {
        "declared_kl": 0.0 if coverage.encoding == "exact" else MOST_ADDED_KL,
        "mean_kl": sum(e["mean"] * n for e, n in zip(errors, tokens)) / sum(tokens),
        "largest_kl": max(e["largest"] for e in errors),
        "other_support": {
            p: sum(e["other_support"][p] * n for e, n in zip(errors, tokens)) / sum(tokens) for p in sorted(cuts)
        },
    }
