"""A plan: the artifacts of a study in an order in which they can be made."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from pdstudy.core.errors import ConfigError
from pdstudy.core.validation import Problem
from pdstudy.plan.artifact import (
    AnswersArtifact,
    Artifact,
    CorpusArtifact,
    Role,
    RunArtifact,
    StoreArtifact,
    TeacherLossArtifact,
)
from pdstudy.study.study import Study


@dataclass(frozen=True)
class Plan:
    study: Study
    artifacts: tuple[Artifact, ...]
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    rate: float = 0.0
    rate_source: str = ""
    packages: tuple[Problem, ...] = ()
    """Packages that what is to be made needs, and this Python lacks."""
    keys: dict[str, str] = field(default_factory=dict)
    """Cell name to run key."""

    def check_here(self, *, packages: bool = True) -> None:
        """Raises `ConfigError` where texts, models or packages that the study needs are not on this machine."""
        if missing := (*self.study.missing, *(self.packages if packages else ())):
            lacking = "\n".join(f"  {p}" for p in missing)
            raise ConfigError(f"study {self.study.name} can be planned here, not run; missing:\n{lacking}")

    @property
    def todo(self) -> tuple[Artifact, ...]:
        return tuple(a for a in self.artifacts if not a.done)

    @functools.cached_property
    def corpora(self) -> tuple[CorpusArtifact, ...]:
        return tuple(a for a in self.artifacts if isinstance(a, CorpusArtifact))

    @functools.cached_property
    def runs(self) -> tuple[RunArtifact, ...]:
        """Teachers, students and finetuning."""
        return tuple(a for a in self.artifacts if isinstance(a, RunArtifact))

    @functools.cached_property
    def stores(self) -> tuple[StoreArtifact, ...]:
        return tuple(a for a in self.artifacts if isinstance(a, StoreArtifact))

    @functools.cached_property
    def teacher_losses(self) -> tuple[TeacherLossArtifact, ...]:
        return tuple(a for a in self.artifacts if isinstance(a, TeacherLossArtifact))

    @functools.cached_property
    def answers(self) -> tuple[AnswersArtifact, ...]:
        return tuple(a for a in self.artifacts if isinstance(a, AnswersArtifact))

    def runs_as(self, role: Role) -> tuple[RunArtifact, ...]:
        """The runs of one role."""
        return tuple(a for a in self.runs if a.role == role)

    def seconds(self, flops: float) -> float:
        """Device-seconds of so many FLOPs at the plan's rate."""
        return flops / self.rate

    def hours(self, flops: float) -> float:
        """Device-hours of so many FLOPs at the plan's rate."""
        return self.seconds(flops) / 3600


def ordered(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """The artifacts as given, but each behind all that it needs or waits for. Raises `ConfigError` on a circle."""
    waiting = {artifact.key: artifact for artifact in artifacts}
    placed: dict[str, Artifact] = {}
    for first in list(waiting):
        path = [first]
        while path:
            artifact = waiting[path[-1]]
            before = next((k for k in (*artifact.needs, *artifact.after) if k in waiting and k not in placed), None)
            if before is None:
                placed[path.pop()] = artifact
            elif before in path:
                labels = " needs ".join(waiting[key].label for key in (*path[path.index(before) :], before))
                raise ConfigError(f"these runs wait for each other: {labels}")
            else:
                path.append(before)
    return tuple(placed.values())
