"""Coverage of a logit store: the part of each distribution that it keeps, and the objectives that it can serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pdstudy.config.data import Corpus, Slice, Split, View
from pdstudy.config.losses import WTTM, OntoGold, Plain, Tail, Temperature
from pdstudy.config.model_folder import check_folder
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, Online, Pretrained, Run
from pdstudy.config.truncation import Sampled, TopPK, Truncation
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import declared, neutral
from pdstudy.core.origin import HasOrigin
from pdstudy.core.validation import Problem

Encoding = Literal["exact", "small"]


@declared
class Coverage:
    """The part of each distribution that is kept at capture.

    The entries of top-p-k with these limits, in rank order, with full-vocabulary log-probabilities; the sum of
    p^(1/tau) outside them for each of `taus` (1 always is there); and `draws` ids drawn with replacement from
    p^exponent / sum p^exponent, in the order drawn, so that fewer draws are a prefix.

    `encoding`: "exact" keeps float32; "small" keeps coded values in about 2 bytes per entry, and is `stored="coded"`
    of `KD` (`pdstudy.distill.store.quantised`).
    """

    p: float = 1.0
    k: int | None = 100
    taus: tuple[float, ...] = neutral(())
    draws: int = neutral(0)
    exponent: float = neutral(1.0)
    encoding: Encoding = neutral("exact")

    def check(self) -> Iterator[Problem]:
        yield from TopPK(p=self.p, k=self.k).check()
        if self.draws < 0:
            yield Problem("draws", self.draws, "0 or more")
        if self.encoding != "exact" and self.draws and self.exponent != 1:
            yield Problem("encoding", self.encoding, "'exact' with draws of another exponent than 1")

    def admits(self, wanted: Truncation | Coverage) -> bool:
        """Whether what is wanted can be derived exactly: every smaller p and k, and fewer draws, are a prefix."""
        need = wanted if isinstance(wanted, Coverage) else _truncation_coverage(wanted)
        return (
            need.p <= self.p
            and (self.k is None or (need.k is not None and need.k <= self.k))
            and set(need.taus) <= set(self.taus)
            and (not isinstance(wanted, Coverage) or (need.encoding == "exact") == (self.encoding == "exact"))
            and (need.draws == 0 or (need.draws <= self.draws and need.exponent == self.exponent))
        )

    @property
    def label(self) -> str:
        """The name of its folder."""
        tails = "".join(f"-t{_digits(tau)}" for tau in self.taus)
        drawn = f"-d{self.draws}" + (f"e{_digits(self.exponent)}" if self.exponent != 1 else "") if self.draws else ""
        coded = "" if self.encoding == "exact" else f"-{self.encoding}"
        return f"p{_digits(self.p)}-k{'all' if self.k is None else self.k}{tails}{drawn}{coded}"


def _digits(number: float) -> str:
    """All digits, or two coverages would share a folder: 0.95 -> '0.95', 1.0 -> '1'."""
    return repr(float(number)).removesuffix(".0")


def _truncation_coverage(cut: Truncation) -> Coverage:
    if isinstance(cut, Sampled):
        # Draws need no entry; a store keeps one at least.
        return Coverage(p=0.01, k=1, draws=cut.draws, exponent=cut.exponent)
    return Coverage(p=cut.p, k=cut.k)


def required_coverage(objective: KD) -> Coverage:
    """The smallest coverage that serves an objective: its truncation, and the tails that its temperature needs."""
    cut = _truncation_coverage(objective.truncation)
    temperature = objective.temperature
    everything = isinstance(temperature, WTTM) and temperature.weighted and temperature.over == "all"
    tail = isinstance(objective.rest, Tail | Plain | OntoGold) and isinstance(temperature, Temperature)
    tau = temperature.tau if isinstance(temperature, Temperature | WTTM) else 1.0
    taus = (float(tau),) if (everything or tail) and tau != 1 else ()
    encoding: Encoding = "small" if objective.stored == "coded" else "exact"
    return Coverage(p=cut.p, k=cut.k, taus=taus, draws=cut.draws, exponent=cut.exponent, encoding=encoding)


def conflict(wanted: Iterable[Truncation | Coverage]) -> Problem | None:
    """The reason why no one store can serve all of them: a field of `KD` and its values; None where one can."""
    wanted = list(wanted)
    needs = [w if isinstance(w, Coverage) else _truncation_coverage(w) for w in wanted]
    exponents = sorted({n.exponent for n in needs if n.draws})
    if len(exponents) > 1:
        return Problem("truncation.exponent", exponents, "one: one store draws with one exponent")
    encodings = sorted({w.encoding for w in wanted if isinstance(w, Coverage)})
    if len(encodings) > 1:
        return Problem("stored", encodings, "one: one store has one encoding")
    return None


def union(wanted: Iterable[Truncation | Coverage]) -> Coverage:
    """The smallest coverage that admits all of them. Raises `ConfigError` where no one store can."""
    wanted = list(wanted)
    if (found := conflict(wanted)) is not None:
        raise ConfigError(f"{found.field}: found {found.found} for one teacher; {found.allowed}")
    needs = [w if isinstance(w, Coverage) else _truncation_coverage(w) for w in wanted]
    exponents = {n.exponent for n in needs if n.draws}
    encodings = {w.encoding for w in wanted if isinstance(w, Coverage)}
    return Coverage(
        p=max(n.p for n in needs),
        k=None if any(n.k is None for n in needs) else max(n.k for n in needs if n.k is not None),
        taus=tuple(sorted({tau for n in needs for tau in n.taus})),
        draws=max(n.draws for n in needs),
        exponent=exponents.pop() if exponents else 1.0,
        encoding=encodings.pop() if encodings else "exact",
    )


@declared
class StoreSpec:
    """The teacher and the stream of a store: the identity that it and its readers must share.

    Together with a coverage it names a store; which sequences it holds is in its manifest and may grow.
    """

    corpus: Corpus
    view: View
    split: Split
    teacher: Run | Pretrained | Online


@dataclass(frozen=True)
class Kept(HasOrigin):
    """Entries that `cut` keeps of a token on average, as `source` measured them of a teacher like a study's.

    `bytes_per_entry` is what the source counts for one of them on disk.
    """

    cut: TopPK
    entries: float
    source: str
    bytes_per_entry: float


@declared
class Capture:
    """A store made for a study to look into: the report shows how much of each distribution is kept.

    `data` may be held-out text, which no student's store shares; start and length are multiples of the context.
    """

    teacher: Run | Pretrained
    corpus: Corpus
    view: View
    data: Slice
    truncation: TopPK

    def check(self) -> Iterator[Problem]:
        for name in ("start", "tokens"):
            if getattr(self.data, name) % self.view.context:
                allowed = f"a multiple of the context, {self.view.context}"
                yield Problem(f"data.{name}", getattr(self.data, name), allowed)
        if self.view.documents == "respect":
            yield Problem("view.documents", "respect", "'cross': the teacher attends across documents")
        if isinstance(self.teacher, Pretrained):
            for problem in check_folder(self.teacher.path, self.corpus, self.view):
                yield problem.below("teacher")

    @property
    def spec(self) -> StoreSpec:
        teacher = normal_form(self.teacher) if isinstance(self.teacher, Run) else self.teacher
        return StoreSpec(corpus=self.corpus, view=self.view, split=self.data.split, teacher=teacher)

    @property
    def coverage(self) -> Coverage:
        return Coverage(p=self.truncation.p, k=self.truncation.k)


@dataclass(frozen=True)
class StoreNeed:
    """One capture: `sequences` of one split that a store must hold at a coverage."""

    spec: StoreSpec
    coverage: Coverage
    sequences: range


def spec_of(run: Run) -> StoreSpec | None:
    """The store that a run reads; None where it reads none."""
    if run.teacher is None or run.is_live:
        return None
    return StoreSpec(corpus=run.corpus, view=run.view, split="train", teacher=run.teacher)
