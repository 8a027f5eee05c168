"""Models that a workspace knows under their identity of before: the hash of everything in their folder.

A README or `generation_config.json` made another model of a second download; now weights, configuration and tokenizer
alone are hashed. What a workspace has from before is found all the same: where it holds artifacts of a folder under the
old hash and none under the new one, the model keeps the old.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pdstudy.config.logits import spec_of
from pdstudy.config.model_folder import earlier_identity, model_identity
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import Pretrained
from pdstudy.study.study import Study
from pdstudy.workspace.layout import Workspace

T = TypeVar("T")


def recognise(study: Study, workspace: Workspace) -> Study:
    """The study with the identities under which the workspace knows its models."""
    runs = workspace.root / "runs"
    made = {path.name for path in runs.iterdir()} if runs.is_dir() else set()
    if not made and not (workspace.root / "stores").is_dir():
        return study

    def holds(study: Study, model: Pretrained) -> bool:
        specs = {capture.spec for capture in study.captures.values() if model in models_in(capture.teacher)}
        for cell in study.cells:
            run = normal_form(cell.run)
            if model in models_in((run.teacher, run.start)):
                if workspace.run(run).path.name in made:
                    return True
                specs |= {spec for spec in (spec_of(run),) if spec is not None}
        return any(workspace.stores(spec).is_dir() for spec in specs)

    return with_known_models(study, holds)


def with_known_models(declared: T, holds: Callable[[T, Pretrained], bool]) -> T:
    """A study or a search with the old identity of each model of which artifacts exist under that alone.

    `holds(declared, model)` says whether they exist as `declared` has it.
    """
    for model in dict.fromkeys(models_in(declared)):
        if model.known_as is not None or holds(declared, model):
            continue
        old = earlier_identity(model.path)
        if old != model_identity(model.path):
            renamed = _rename(declared, {model: old})
            if holds(renamed, dataclasses.replace(model, known_as=old)):
                declared = renamed
    return declared


def models_in(value: Any) -> Iterator[Pretrained]:
    """Every model in a folder that a declaration names, as often as it does."""
    if isinstance(value, Pretrained):
        yield value
    else:
        for _, part in _parts(value):
            yield from models_in(part)


def _rename(value: Any, known: Mapping[Pretrained, str]) -> Any:
    if isinstance(value, Pretrained):
        return dataclasses.replace(value, known_as=known[value]) if value in known else value
    changed = {name: made for name, part in _parts(value) if (made := _rename(part, known)) is not part}
    if not changed:
        return value
    if isinstance(value, Mapping):
        return {**value, **changed}
    if isinstance(value, tuple):
        return tuple(changed.get(number, part) for number, part in enumerate(value))
    return dataclasses.replace(value, **changed)


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
