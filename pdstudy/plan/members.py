"""The studies of a collection, and the artifacts that each of them needs."""

from __future__ import annotations

from pdstudy.plan.artifact import AnswersArtifact, Artifact, RunArtifact, TeacherLossArtifact
from pdstudy.plan.plan import Plan
from pdstudy.study.collection import Collection


def artifacts_by_study(plan: Plan) -> dict[str, list[Artifact]]:
    """The artifacts of each study of a collection, one that several need in each; none of any other study."""
    if not isinstance(plan.study, Collection):
        return {}
    evaluated = {study.name for study in plan.study.studies if study.downstream}
    needing: dict[str, set[str]] = {artifact.key: set() for artifact in plan.artifacts}
    for artifact in plan.artifacts:  # each behind what it needs: a finetuned model is in the studies of its parent
        cells = artifact.taught if isinstance(artifact, TeacherLossArtifact) else artifact.cells
        found = {cell.partition(",")[0].removeprefix("study=") for cell in cells}
        tuned = isinstance(artifact, RunArtifact) and artifact.role == "finetune"
        if tuned or isinstance(artifact, AnswersArtifact):
            found |= evaluated & {name for key in artifact.needs for name in needing.get(key, ())}
        needing[artifact.key] = found
    for name, capture in plan.study.captures.items():
        for store in plan.stores:
            if store.need.spec == capture.spec and store.need.coverage.admits(capture.coverage):
                needing[store.key].add(name.partition(",")[0])
    for artifact in reversed(plan.artifacts):
        for key in (*artifact.needs, *artifact.after):
            needing.get(key, set()).update(needing[artifact.key])
    names = [study.name for study in plan.study.studies]
    return {name: [artifact for artifact in plan.artifacts if name in needing[artifact.key]] for name in names}
