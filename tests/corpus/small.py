"""The smallest corpus to build, and the files that a build leaves."""

import json
from pathlib import Path

from pdstudy.config.data import BPE, Corpus
from pdstudy.config.text_sources import LocalFiles


def small(folder: Path, documents: int = 300) -> Corpus:
    """A few hundred short documents of the standard library's json and email packages."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = Path(json.__file__).parent.joinpath("decoder.py").read_text().splitlines(keepends=True)
    rows = [{"text": "".join(lines[i : i + 5])} for i in range(documents)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Corpus(sources=(LocalFiles(paths=(str(folder / "rows.jsonl"),)),), tokenizer=BPE(vocab=300),
                  validation=0.1, test=0.1)  # fmt: skip


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
