"""The workspace: artifacts, each stored once under its fingerprint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pdstudy.config.data import Corpus
from pdstudy.config.evaluation import TeacherText
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.normal_form import normal_form
from pdstudy.config.placement import TRAINING
from pdstudy.config.run import Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import user_path
from pdstudy.core.identity import fingerprint
from pdstudy.workspace.run_dir import RunDir


@dataclass(frozen=True)
class Workspace:
    """Artifacts, each stored once under its fingerprint; studies only point at them."""

    root: Path

    @staticmethod
    def default() -> Workspace:
        """`PDSTUDY_WORKSPACE`, else `workspace` in the working directory. Raises as `at` does."""
        return Workspace.at(os.environ.get("PDSTUDY_WORKSPACE") or "workspace")

    @staticmethod
    def at(path: Path | str) -> Workspace:
        """The workspace in a folder, there or not. Raises `ConfigError` where a file is in its place."""
        root = user_path(str(path)).resolve()
        if root.exists() and not root.is_dir():
            raise ConfigError(f"workspace: found the file {root}; allowed: a folder, there or not yet")
        return Workspace(root)

    def corpus(self, corpus: Corpus) -> Path:
        return self.root / "corpora" / fingerprint(corpus)

    def run(self, run: Run) -> RunDir:
        return RunDir(self.root / "runs" / fingerprint(normal_form(run)))

    def claim(self, kind: str, key: str) -> Path:
        """The file that is held by whoever makes an item. A run is one thing, whether it teaches or learns."""
        return self.root / "claims" / f"{'run' if kind in TRAINING else kind}-{key.replace('/', '-')}"

    def teacher(self, text: TeacherText) -> Path:
        """The folder of the held-out losses of a teacher that is not trained here."""
        return self.root / "teachers" / fingerprint(text)

    def stores(self, spec: StoreSpec) -> Path:
        """The folder of all stores of one spec; each is a subfolder named by its coverage."""
        return self.root / "stores" / fingerprint(spec)

    def store(self, spec: StoreSpec, coverage: Coverage) -> Path:
        return self.stores(spec) / coverage.label
