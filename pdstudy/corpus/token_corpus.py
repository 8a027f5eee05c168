"""A built corpus on disk: its manifest, and opening it with every byte verified."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pdstudy.config.data import Split
from pdstudy.config.tokenised import sample_hash
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import file_sha256
from pdstudy.corpus.stream import GatheredStream, TokenStream

FORMAT = 1
"""Version of the files of a corpus: raised when they come to mean something else."""


MANIFEST, TOKENIZER, TOKEN_BYTES = "manifest.json", "tokenizer", "token_bytes.npy"
"""Names of files and of a folder in a corpus's directory."""


@dataclass(frozen=True)
class TokenCorpus:
    """A built corpus: its directory and its manifest.

    `manifest` has: corpus (the declaration), fingerprint, vocab, eos, bos (where documents begin with one), dtype,
    tokenizer_sha256, splits (per split: tokens, documents, bytes of text, token_bytes, shards), sources (per source:
    documents, empty, bytes, sha256 of its texts, and bad_rows where some were left out), duplicates, files (name to
    bytes and sha256), versions.
    """

    directory: Path
    manifest: dict[str, Any]

    @property
    def vocab(self) -> int:
        """Ids are below this: the tokenizer's real size, which a model's vocabulary may exceed."""
        return int(self.manifest["vocab"])

    @property
    def eos(self) -> int:
        """The token that ends every document."""
        return int(self.manifest["eos"])

    @property
    def bos(self) -> int | None:
        """The token that begins every document; None where there is none."""
        return self.manifest.get("bos")

    @property
    def tokenizer_hash(self) -> str:
        """sha256 of tokenizer.json."""
        return str(self.manifest["tokenizer_sha256"])

    @property
    def tokenizer_dir(self) -> Path:
        """A folder that `AutoTokenizer.from_pretrained` reads."""
        return self.directory / TOKENIZER

    @functools.cached_property
    def token_bytes(self) -> npt.NDArray[np.int32]:
        """Bytes of text that each id stands for, int32 [vocab]; 0 for special tokens."""
        array: npt.NDArray[np.int32] = np.load(self.directory / TOKEN_BYTES, allow_pickle=False)
        return array

    def stream(self, split: Split) -> TokenStream:
        """The shuffled tokens of one split."""
        described = self.manifest["splits"][split]
        files = described["files"]
        if "parts" in self.manifest:
            streams = [open_corpus(self.directory.parent / key).stream(split) for key in self.manifest["parts"]]
            return GatheredStream(split, streams, *self._load(*files))
        if "shards" in described:  # files of another's, read where they lie
            shards = [np.memmap(each["path"], dtype=each["dtype"], mode="r") for each in described["shards"]]
            return GatheredStream(split, shards, *self._load(*files), self.eos if described["end"] == "added" else None)
        dtype = np.dtype(self.manifest["dtype"]).newbyteorder("<")
        shards = [np.memmap(self.directory / name, dtype=dtype, mode="r") for name in files[:-1]]
        return TokenStream(split, shards, np.load(self.directory / files[-1], mmap_mode="r", allow_pickle=False))

    def _load(self, offsets: str, places: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The positions of pieces in a stream, and in what it gathers them from."""
        first, second = (np.load(self.directory / n, mmap_mode="r", allow_pickle=False) for n in (offsets, places))
        return first, second


def open_corpus(directory: Path) -> TokenCorpus:
    """Open a corpus that `build` made, with every file verified by size and sha256 (once per process and file state).

    Raises `ConfigError` with the file and the reason when the corpus is absent, of another format, or damaged.
    """
    path = directory / MANIFEST
    if not path.exists():
        if directory.is_dir() and any(directory.iterdir()):
            raise ConfigError(
                f"{directory} holds files, but no {MANIFEST}, by which they would be verified: restore that file, or "
                f"delete {directory} and run again to rebuild the corpus"
            )
        raise ConfigError(f"no corpus at {directory}: it has no {MANIFEST}; `pdstudy run` builds it")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"]
        files = manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged_error(directory, path, f"it cannot be read ({type(error).__name__}: {error})") from error
    if found != FORMAT:
        raise ConfigError(f"{path} has format {found}, this pdstudy reads {FORMAT}; delete {directory} to rebuild")
    for name, expected in files.items():
        file = directory / name
        if not file.is_file():
            raise _damaged_error(directory, file, "it is missing")
        stat = file.stat()
        if stat.st_size != expected["bytes"]:
            raise _damaged_error(
                directory, file, f"it has {stat.st_size:,} bytes, the manifest says {expected['bytes']:,}"
            )
        if _sha256(file, stat.st_size, stat.st_mtime_ns) != expected["sha256"]:
            raise _damaged_error(directory, file, "its sha256 is not the one in the manifest")
    _check_shards(directory, manifest)
    return TokenCorpus(directory, manifest)


def _check_shards(directory: Path, manifest: dict[str, Any]) -> None:
    """Files of tokens that are read in place are those of which the index was made, by their size and a sample."""
    for split in manifest["splits"].values():
        for shard in split.get("shards", ()):
            path = Path(shard["path"])
            if not path.is_file() or path.stat().st_size != shard["bytes"] or sample_hash(path) != shard["sample"]:
                state = "has changed" if path.is_file() else "is gone"
                raise ConfigError(
                    f"{path} {state}, whose documents {directory} lists; put it back, or delete {directory}, which is "
                    f"but a list, and run again"
                )


@functools.cache
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(file)


def _damaged_error(directory: Path, file: Path, reason: str) -> ConfigError:
    return ConfigError(f"corpus file {file} is damaged: {reason}; delete {directory} and run again to rebuild it")
