"""What a logit store knows, and which truncations it can serve: one comparison (design, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pdstudy.config import Pretrained, Run
from pdstudy.data import Corpus, Split, View
from pdstudy.normal import Problem, declared
from pdstudy.objective import TopPK, Truncation


@declared
class Coverage:
    """The cut at capture: top-p-k with these limits was kept, in rank order, with full-vocabulary log-probabilities."""

    p: float = 1.0
    k: int | None = 100

    def check(self) -> Iterator[Problem]:
        yield from TopPK(p=self.p, k=self.k).check()

    def admits(self, truncation: Truncation) -> bool:
        """True where `truncation` can be derived exactly: every smaller p and k is a prefix of what was kept."""
        return truncation.p <= self.p and (self.k is None or (truncation.k is not None and truncation.k <= self.k))

    @property
    def label(self) -> str:
        return f"p{self.p:g}-k{'all' if self.k is None else self.k}"


def join(truncations: Iterable[Truncation]) -> Coverage:
    """The smallest coverage that admits all of them."""
    cuts = list(truncations)
    k = None if any(t.k is None for t in cuts) else max(t.k for t in cuts if t.k is not None)
    return Coverage(p=max(t.p for t in cuts), k=k)


@declared
class StoreSpec:
    """Whose distributions over which stream: the identity that a store and its readers must share.

    Together with a coverage it names a store; which sequences it holds is in its manifest and may grow.
    """

    corpus: Corpus
    view: View
    split: Split
    teacher: Run | Pretrained
