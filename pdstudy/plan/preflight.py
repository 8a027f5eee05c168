"""Failures of later that can be seen now: texts that are too short, packages that are not installed.

What a study's declaration and the folders that it names show is checked with them (`Study.problems`); here is what
depends on the workspace and on this machine.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from pdstudy.config.data import Corpus, PretrainedTokenizer, Slice
from pdstudy.config.model_folder import has_tokenizer, same_ids
from pdstudy.config.run import Pretrained, Run
from pdstudy.config.text_files import find_packages, find_text_files
from pdstudy.config.text_sources import HubDataset, LocalFiles
from pdstudy.config.tokenizer_file import TOKENIZER_FILES, named_token
from pdstudy.core.files import read_json, user_path
from pdstudy.core.origin import spot_of
from pdstudy.core.validation import Problem
from pdstudy.plan.artifact import AnswersArtifact, Artifact, CorpusArtifact, RunArtifact
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace


class TextLimits:
    """Tokens of one corpus: those of each split where it is built, else no more than its texts have bytes.

    Texts that are elsewhere (not `here`) may be others than those of their name here, and limit nothing.
    """

    def __init__(self, corpus: Corpus, workspace: Workspace, *, here: bool = True) -> None:
        folder = workspace.corpus(corpus)
        manifest = read_json(folder / "manifest.json", f"delete {folder} and run again to rebuild it")
        self.built = manifest is not None
        self.tokenizer = folder / "tokenizer" / TOKENIZER_FILES[0] if self.built else None
        self._tokens = {} if manifest is None else {s: int(m["tokens"]) for s, m in manifest["splits"].items()}
        self._bytes = text_bytes(corpus) if here and not self.built else None
        self._shares = {"validation": corpus.validation, "test": corpus.test}

    def check(self, name: str, part: Slice) -> Problem | None:
        """The problem of a slice that ends beyond the text."""
        found = f"[{part.start:,}, {part.stop:,})"
        tokens = self._tokens.get(part.split)
        if tokens is not None and part.stop >= tokens:
            return Problem(name, found, f"a slice that ends before {tokens:,}, the corpus's {part.split} tokens")
        if self._bytes is not None and part.stop >= self._bytes:
            return Problem(name, found, f"a slice that ends before {self._bytes:,}: a token is a byte of text or more")
        return None

    def doubt(self, name: str, part: Slice) -> Problem | None:
        """The problem of a held-out slice that ends beyond what the share of its split is likely to hold."""
        share = self._shares.get(part.split)
        if self._bytes is None or share is None or part.stop < share * self._bytes:
            return None
        allowed = f"a slice within the {part.split} split, about {share:g} of {self._bytes:,} bytes of text"
        return Problem(name, f"[{part.start:,}, {part.stop:,})", allowed)


def text_bytes(corpus: Corpus) -> int | None:
    """Bytes of the files of a corpus with one for each of a document's ends; None where they are packed, or not all
    local."""
    files = {
        path
        for source in corpus.sources
        for pattern in (source.paths if isinstance(source, LocalFiles) else ())
        for path in find_text_files(pattern)
    }
    plain = all(isinstance(source, LocalFiles) for source in corpus.sources)
    if not plain or not files or any(path.suffix not in (".txt", ".jsonl") for path in files):
        return None
    ends = 1 if corpus.bos is None else 2
    return sum(path.stat().st_size + ends for path in files)


def check_tokenizer(model: Pretrained, limits: TextLimits) -> tuple[Problem | None, str]:
    """The problem of a model whose tokenizer is not that of a corpus which is built; a warning where it has none."""
    folder = user_path(model.path)
    if not folder.is_dir():
        return None, ""
    if not has_tokenizer(model.path):
        return None, f"{model.path} has no {TOKENIZER_FILES[0]}: its ids are taken for the corpus's, unchecked"
    built = limits.tokenizer
    if built is None or not built.is_file() or same_ids(built, folder / TOKENIZER_FILES[0]):
        return None, ""
    hint = f"tokenize the corpus with the model's: PretrainedTokenizer(path={model.path!r})"
    return Problem("path", model.path, "a model with the corpus's tokenizer", hint=hint), ""


def unused_bos(corpus: Corpus) -> Problem | None:
    """The problem of a corpus whose documents do not begin with the token by which its tokenizer begins texts."""
    tokenizer = corpus.own_tokenizer
    if not isinstance(tokenizer, PretrainedTokenizer) or tokenizer.bos is not None:
        return None
    bos = named_token(tokenizer.folder, "bos_token")
    if bos is None or bos in (tokenizer.eos, named_token(tokenizer.folder, "eos_token")):
        return None
    hint = "a model that was trained with it may do far worse without"
    return Problem("corpus.tokenizer.bos", None, f"{bos!r}, with which the tokenizer begins a text", hint=hint)


def seen_text(teacher: Run, data: Slice) -> str | None:
    """The part of a student's text that a trained teacher has read, as a note; None where it has read none.

    It is allowed, since published models may have read anything, and since it is the control of whether a gain from a
    teacher is one from more data.
    """
    shared = teacher.data.shared(data)
    if not shared:
        return None
    return (
        f"the teacher's slice holds {shared:,} of the {data.tokens:,} tokens that it gives logits for: of these a gain "
        f"is not one from more data, and its logits may be of text learned by heart"
    )


def missing_packages(study: Study, artifacts: Iterable[Artifact]) -> tuple[Problem, ...]:
    """Packages that making some artifacts needs and this Python does not have, each once."""
    found: dict[str, Problem] = {}
    for artifact in artifacts:
        for field, module, extra in _packages(study, artifact):
            if module not in found and importlib.util.find_spec(module) is None:
                package = module.replace("_", "-")
                allowed = f"installed packages: pip install 'pdstudy[{extra}]'"
                found[module] = Problem(field, package, allowed, missing=True).at(spot_of(study, field) or study.where)
    return tuple(found.values())


def _packages(study: Study, artifact: Artifact) -> Iterator[tuple[str, str, str]]:
    """(Field of the study, module, extra of pdstudy) of what making an artifact imports beyond the basics."""
    if isinstance(artifact, AnswersArtifact):
        yield "downstream", "lm_eval", "eval"
    elif isinstance(artifact, CorpusArtifact):
        for source in artifact.corpus.sources:
            if isinstance(source, HubDataset):
                yield "base", "datasets", "hub"
            elif isinstance(source, LocalFiles):
                yield from (("base", module, extra) for module, extra in find_packages(source.paths))
    elif isinstance(artifact, RunArtifact) and study.placement.attention == "flash_attention_2":
        yield "placement", "flash_attn", "flash"
