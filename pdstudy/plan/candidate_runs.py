"""Runs of a study as its design sees them: size, tokens, price, and the trunk that branches share; and others like
them, by root two in size and tokens. Imports no numbers' library: the search among them is in `pdstudy.analysis`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import LM, Run
from pdstudy.config.trajectory import lasting_steps
from pdstudy.core.errors import ConfigError
from pdstudy.core.format import si
from pdstudy.core.identity import fingerprint
from pdstudy.plan.branches import branch_family
from pdstudy.plan.cost import evaluated_tokens, sizes, steps_flops, training_flops
from pdstudy.plan.plan import Plan
from pdstudy.study.study import Cell

ROOT = math.sqrt(2.0)
"""Factor between neighbours of the grid of candidates, in size and in tokens (no unit)."""

NEAR = 1.15
"""Factor within which a candidate is one that is declared (no unit)."""


@dataclass(frozen=True)
class CandidateRun:
    """A run that a design may have.

    `per_token` are FLOPs of training per token, `trunk` those that it may share with the others of its `family`, `own`
    those of its decay and evaluation. `key` is that of a declared run, `done` whether that has ended.
    """

    name: str
    size: int
    tokens: float
    per_token: float
    trunk: float
    own: float
    family: str
    evaluated: float
    key: str | None = None
    done: bool = False

    @property
    def flops(self) -> float:
        """Price of the run by itself."""
        return self.trunk + self.own


@dataclass(frozen=True)
class TaughtRun:
    """A student as a design of its law sees it: labels on the axes, size, tokens, and its teacher's key, size and
    tokens."""

    name: str
    labels: Mapping[str, str]
    size: int
    tokens: float
    teacher: str
    teacher_size: int
    teacher_tokens: float


def taught_runs(plan: Plan, total: bool, chosen: Callable[[Cell], bool]) -> list[TaughtRun]:
    """The runs of a plan that learn from a teacher, among the chosen cells, each once.

    Args:
        total: whether sizes count embeddings. chosen: which cells.

    Raises:
        ConfigError: a teacher is a folder, or moves with its student: no law gives its loss.
    """

    def size(run: Run) -> int:
        return sizes(run)[1] if total else sizes(run)[0]

    found: dict[str, TaughtRun] = {}
    for cell in plan.study.cells:
        run = normal_form(cell.run)
        teacher = run.teacher
        if teacher is None or not chosen(cell) or plan.keys[cell.name] in found:
            continue
        if not isinstance(teacher, Run):
            raise ConfigError(
                f"teacher of {cell.name}: found {type(teacher).__name__}; allowed in a design: a run, whose loss the "
                "assumed law gives"
            )
        found[plan.keys[cell.name]] = TaughtRun(
            cell.name, cell.labels, size(run), float(run.num_tokens),
            fingerprint(teacher), size(teacher), float(teacher.num_tokens),
        )  # fmt: skip
    return list(found.values())


def declared_runs(plan: Plan, total: bool, chosen: Callable[[Cell], bool]) -> list[CandidateRun]:
    """The runs of a plan that learn from text alone, among the chosen cells, each once.

    Args:
        total: whether sizes count embeddings. chosen: which cells.
    """
    states = {run.key: run.done for run in plan.runs}
    found: dict[str, CandidateRun] = {}
    for cell in plan.study.cells:
        run = normal_form(cell.run)
        key = plan.keys[cell.name]
        if isinstance(run.objective, LM) and chosen(cell) and key not in found:
            found[key] = _declared(plan, cell.name, run, key, total, states[key])
    return list(found.values())


def _declared(plan: Plan, name: str, run: Run, key: str, total: bool, done: bool) -> CandidateRun:
    trunk = steps_flops(run, max(lasting_steps(run), default=0))
    evaluated = float(sum(evaluated_tokens(each, run) for each in plan.study.evaluations))
    forward = sizes(run)[2]
    return CandidateRun(
        name=name,
        size=sizes(run)[1] if total else sizes(run)[0],
        tokens=float(run.num_tokens),
        per_token=3 * forward,
        trunk=trunk,
        own=training_flops(run) - trunk + forward * evaluated,
        family=fingerprint(branch_family(run)),
        evaluated=evaluated,
        key=key,
        done=done,
    )


def grid_around(declared: Sequence[CandidateRun], held: Sequence[CandidateRun] = ()) -> list[CandidateRun]:
    """Runs like the declared ones, by root two in size and in tokens, one step beyond them on each side.

    Where a size is declared its run of most tokens is the pattern: the same family, share of decay and evaluation.
    Between and beyond sizes FLOPs per token over six times the parameters are those of the declared sizes, linear in ln
    N. None has fewer tokens per parameter than the declared ones, or is one of them or of those `held` out, which a
    law must predict.
    """
    patterns = {run.size: run for run in sorted(declared, key=lambda run: run.tokens)}
    least = min(run.tokens / run.size for run in declared) / 1.001
    lowest, highest = (f(run.tokens for run in declared) for f in (min, max))
    steps = math.ceil(math.log(highest / lowest) / math.log(ROOT) - 1e-6)
    found = []
    for size in _sizes(sorted(patterns)):
        near = min(patterns.values(), key=lambda run: abs(math.log(run.size / size)))
        for i in range(-1, steps + 2):
            tokens = lowest * ROOT**i
            same = any(_close(run.size, size) and _close(run.tokens, tokens) for run in (*declared, *held))
            if tokens / size >= least and not same:
                found.append(_like(near, size, tokens, _per_token(size, patterns)))
    return found


def _close(one: float, other: float) -> bool:
    return 1 / NEAR < one / other < NEAR


def _sizes(declared: Sequence[int]) -> Iterable[int]:
    """The declared sizes, those by root two between ones that are further apart, and one beyond each end."""
    yield round(declared[0] / ROOT)
    for low, high in zip(declared, (*declared[1:], declared[-1] * 2)):
        yield low
        parts = max(1, round(math.log(high / low) / math.log(ROOT)))
        yield from (round(low * (high / low) ** (i / parts)) for i in range(1, parts))


def _per_token(size: int, patterns: dict[int, CandidateRun]) -> float:
    """FLOPs per token at a size."""
    below = max((s for s in patterns if s <= size), default=min(patterns))
    above = min((s for s in patterns if s >= size), default=max(patterns))
    low, high = (patterns[s].per_token / s for s in (below, above))
    share = 0.0 if above == below else math.log(size / below) / math.log(above / below)
    return size * (low + share * (high - low))


def _like(pattern: CandidateRun, size: int, tokens: float, per_token: float) -> CandidateRun:
    share = pattern.trunk / (pattern.per_token * pattern.tokens)
    return dataclasses.replace(
        pattern,
        name=f"N {si(size)}, D {si(tokens)}",
        size=size,
        tokens=tokens,
        per_token=per_token,
        trunk=share * per_token * tokens,
        own=(1 - share) * per_token * tokens + per_token / 3 * pattern.evaluated,
        family=pattern.family if size == pattern.size else f"{pattern.family} at {size}",
        key=None,
        done=False,
    )
