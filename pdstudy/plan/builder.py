"""What a study needs, what of it exists, and what the rest will cost. Reads the workspace, changes nothing.

A plan is a list of items, one per artifact, in an order in which they can be made: corpora, teachers, stores,
students, finetuning, answers to tasks. Shared artifacts appear once. Nothing here imports torch, numpy or pandas.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdstudy.config.data import Corpus, Slice
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import probe_teacher, text_of
from pdstudy.config.logits import Capture, Coverage, StoreNeed, StoreSpec, conflict, required_coverage, spec_of, union
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, Online, Run
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json
from pdstudy.core.format import si
from pdstudy.core.identity import decode, fingerprint
from pdstudy.core.origin import Spot, spot_of
from pdstudy.core.validation import Problem
from pdstudy.plan.branches import branched
from pdstudy.plan.cost import (
    bytes_per_token,
    evaluation_flops,
    sizes,
    teacher_flops,
    tokens_read,
    training_flops,
    vocabulary,
)
from pdstudy.plan.plan import Artifact, Kind, Plan, ordered
from pdstudy.plan.replay import replay_needed
from pdstudy.study.collection import Collection
from pdstudy.study.study import Cell, Study
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import holds, inside, merged_ranges

if TYPE_CHECKING:
    pass
from pdstudy.study.study_file import find_study, load_study

PARTS: tuple[Kind, ...] = ("teacher", "finetune", "student")
"""What a run may be to a study."""


def make_plan(study: Study, workspace: Workspace) -> Plan:
    """Expand, check and price a study against a workspace. Problems are returned, never raised."""
    problems = study.problems()
    if problems:
        return Plan(study, (), problems=tuple(problems))
    builder = _Builder(study, workspace)
    for cell in study.cells:
        builder.add(cell)
    for name, capture in study.captures.items():
        builder.capture(name, capture)
    absent = [f"not here: {a.found} ({a.field}), priced as declared" for a in study.missing]
    rate, source = _rate(study, builder.finished_rates)
    items = builder.items()
    warnings = (*builder.repeats(), *absent, *builder.retrained)
    return Plan(study, items, warnings, tuple(builder.problems), rate, source, builder.keys)


def parts(plan: Plan, workspace: Workspace) -> list[Plan]:
    """The plans of a collection's studies; a study's own plan."""
    if isinstance(plan.study, Collection):
        return [make_plan(study, workspace) for study in plan.study.studies]
    return [plan]


class _Builder:
    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study = study
        self.workspace = workspace
        self._repeats: dict[int, list[tuple[float, str]]] = {}
        self.retrained: list[str] = []
        self.problems: list[Problem] = []
        self.keys: dict[str, str] = {}
        self._corpora: dict[str, Artifact] = {}
        self._lengths: dict[str, dict[str, int]] = {}
        self._too_long: set[tuple[str, Slice]] = set()
        self._runs: dict[str, Artifact] = {}
        self._cells: dict[str, list[str]] = {}
        self._uses: dict[StoreSpec, tuple[set[Coverage], set[tuple[int, int]]]] = {}
        self._exports: dict[str, set[int]] = {}
        self._asked: dict[str, Artifact] = {}
        runs = workspace.root / "runs"
        self._existing = {p.name for p in runs.iterdir()} if runs.is_dir() else set()
        self.finished_rates: list[float] = []

    def add(self, cell: Cell) -> None:
        run = normal_form(cell.run)
        key = fingerprint(run)
        self.keys[cell.name] = key
        self._cells.setdefault(key, []).append(cell.name)
        self._run("student", run, cell.name, cell)
        for i, asked in enumerate(self.study.downstream_of(cell)):
            for step in asked.steps(run):
                self._ask(asked, run, step, cell, f"downstream[{i}].")

    def capture(self, name: str, capture: Capture) -> None:
        """A store that the study wants for itself."""
        cell = Cell({}, 0, self.study.base)
        self._corpus(capture.corpus, [(f"captures[{name!r}].data", capture.data)], cell)
        if isinstance(capture.spec.teacher, Run):
            self._teacher(capture.spec.teacher, cell, f"captures[{name!r}].teacher.")
        sequences = capture.view.sequences(capture.data)
        self._use(capture.spec, capture.coverage, sequences, cell, f"captures[{name!r}].")

    def _ask(self, asked: Downstream, run: Run, step: int | None, cell: Cell, where: str) -> None:
        """Tasks for a run's model, or for the one that it had after a step, or for what is finetuned from that."""
        key, model = asked.answers(run, step), fingerprint(run)
        at = "" if step is None else f" after {si(step * run.tokens_per_step)} tokens"
        if (finetuned := asked.finetuned(run, step)) is not None:
            label = f"{cell.name}{at}: {si(finetuned.num_tokens)} tokens"
            model = self._run("finetune", finetuned, label, cell, f"{where}finetune.")
            at += ", finetuned"
        elif step is not None:
            self._exports.setdefault(model, set()).add(step)
        tasks = ", ".join(task.name for task in asked.tasks)
        done = (self.workspace.root / "downstream" / key / "results.json").exists()
        state, label = "done" if done else "new", f"{cell.name}{at}: {tasks}"
        flops = sizes(run)[2] * tokens_read(asked)[0]
        self._asked.setdefault(key, Artifact("evaluate", key, label, done, asked, (model,), flops, state=state))

    def _run(self, kind: Kind, run: Run, label: str, cell: Cell, at: str = "") -> str:
        """A run, after all that it needs; its key. One that has several parts has the last of `PARTS`.

        `at`: where in the cell's run it is declared, in messages.
        """
        key = fingerprint(run)
        if key in self._runs and PARTS.index(kind) <= PARTS.index(self._runs[key].kind):
            return key
        self._runs[key] = self._run_item(kind, key, label, run)  # before its needs, which may lead back to it
        needs = [self._corpus(run.corpus, [(f"{at}data", run.data)], cell)]
        teacher = run.teacher
        if isinstance(teacher, Run):
            needs.append(self._teacher(teacher, cell, f"{at}objective.teacher."))
        elif isinstance(teacher, Online):
            needs.append(self._teacher(teacher.run, cell, f"{at}objective.teacher.run."))
        if teacher is not None and not run.is_live:
            self._use_store(run, cell, f"{at}objective.")
        if run.start is not None and isinstance(run.start.model, Run):
            needs.append(self._started_from(run.start.model, run.start.step, cell, f"{at}start.model."))
        probed = [probe_teacher(e, run) for e in self.study.evaluations] if kind != "teacher" else []
        for i, other in enumerate(probed):
            if isinstance(other, Run) and other != teacher:
                needs.append(self._teacher(other, cell, f"evaluations[{i}].teacher."))
        if run.epochs > 1.001:
            self._repeats.setdefault(run.data.tokens, []).append((run.epochs, label))
        self._runs[key] = dataclasses.replace(self._runs[key], needs=tuple(dict.fromkeys(needs)))
        return key

    def _teacher(self, teacher: Run, cell: Cell, at: str) -> str:
        label = f"{si(sizes(teacher)[1])} parameters, {si(teacher.num_tokens)} tokens"
        return self._run("teacher", teacher, label, cell, at)

    def _started_from(self, model: Run, step: int | None, cell: Cell, at: str) -> str:
        """The run whose weights another starts from; it is asked to leave those of a step on its way."""
        key = fingerprint(model)
        if key not in self._runs:
            self._run("student", model, f"{cell.name}, where it starts from", cell, at)
        if step is not None:
            self._exports.setdefault(key, set()).add(step)
        return key

    def repeats(self) -> list[str]:
        """A line per slice that runs go through more than once."""
        lines = []
        for tokens, runs in self._repeats.items():
            epochs, label = max(runs)
            count = f"{len(runs)} runs go" if len(runs) > 1 else "1 run goes"
            lines.append(f"{count} through a slice of {tokens:,} tokens up to {epochs:.2f} times: {label}")
        return lines

    def items(self) -> tuple[Artifact, ...]:
        captures, records = self._stores()
        made = {key: self._wanted(item, records) for key, item in self._runs.items()}
        made |= branched([item for item in made.values() if item.kind == "student"], self.workspace)
        runs = [self._with_reads(item, captures, records) for item in made.values()]
        teachers, tuned, students = ([item for item in runs if item.kind == kind] for kind in PARTS)
        made_of_text = (*self._corpora.values(), *teachers, *captures.values(), *students)
        return ordered((*made_of_text, *tuned, *self._asked.values()))

    def _with_reads(self, item: Artifact, captures: dict[StoreNeed, Artifact], records: list[StoreNeed]) -> Artifact:
        """A run with its cells, and the store that it reads."""
        run = item.subject
        assert isinstance(run, Run)
        cells = tuple(self._cells.get(item.key, ()))
        item = dataclasses.replace(item, cells=cells, label=cells[0] if cells else item.label)
        spec = spec_of(run)
        if spec is None:
            return item
        wanted = run.view.sequences(run.data)
        store = next(s for s in (*captures, *records) if s.spec == spec and inside(wanted, s.sequences))
        needs = (*item.needs, captures[store].key) if store in captures else item.needs
        return dataclasses.replace(item, reads=store, needs=needs)

    def _wanted(self, item: Artifact, records: list[StoreNeed]) -> Artifact:
        """A run with what others want of it while it trains: for what is over by then, steps are trained again."""
        run = item.subject
        assert isinstance(run, Run)
        mine = [n for n in records if isinstance(n.spec.teacher, Online) and n.spec.teacher.run == run]
        exports = tuple(sorted(self._exports.get(item.key, ())))
        item = dataclasses.replace(item, records=tuple(mine), exports=exports)
        if item.state in ("new", "diverged") or not (mine or exports):
            return item
        folder = self.workspace.run(run)
        stores = [(self.workspace.store(need.spec, need.coverage), need.sequences) for need in mine]
        lacking = replay_needed(run, folder, exports, stores)
        if lacking is None:
            return item
        start = lacking.start(folder)
        steps = f"steps {start + 1} to {lacking.until}"
        self.retrained.append(f"{item.label}: {steps} are trained again, for what was not asked then")
        more = training_flops(run) * (lacking.until - start) / run.num_steps
        state = "again" if item.state in ("done", "evaluate") else item.state
        return dataclasses.replace(item, done=False, state=state, flops=(0.0 if item.done else item.flops) + more)

    def _corpus(self, corpus: Corpus, read: list[tuple[str, Slice]], cell: Cell) -> str:
        key = fingerprint(corpus)
        if key not in self._corpora:
            folder = self.workspace.corpus(corpus)
            manifest = read_json(folder / "manifest.json", f"delete {folder} and run again to rebuild it")
            label = "+".join(getattr(s, "name", type(s).__name__) for s in corpus.sources)
            self._corpora[key] = Artifact("corpus", key, label, manifest is not None, corpus)
            self._lengths[key] = {} if manifest is None else {s: m["tokens"] for s, m in manifest["splits"].items()}
        wanted = [*read]
        for i, evaluation in enumerate(self.study.evaluations):
            if (text := text_of(evaluation)) is not None:
                wanted.append((f"evaluations[{i}].data", text))
        self._check_lengths(self._lengths[key], wanted, cell)
        return key

    def _check_lengths(self, tokens: dict[str, int], wanted: list[tuple[str, Slice]], cell: Cell) -> None:
        """Slices that end beyond a corpus that is there; each is said once."""
        for name, part in wanted:
            if part.stop + 1 > tokens.get(part.split, part.stop + 1) and (name, part) not in self._too_long:
                self._too_long.add((name, part))
                allowed = f"a slice that ends before {tokens[part.split]:,}, the corpus's {part.split} tokens"
                found = f"[{part.start:,}, {part.stop:,})"
                self.problems.append(Problem(name, found, allowed).at(self._spot(cell, name)))

    def _spot(self, cell: Cell, name: str) -> Spot:
        """File and line of a field of the study, or else of a cell's run."""
        owned = any(name.startswith(field) for field in ("evaluations", "captures", "downstream"))
        return (spot_of(self.study, name) if owned else cell.spot_of(name)) or self.study.where

    def _run_item(self, kind: Kind, key: str, label: str, run: Run) -> Artifact:
        evaluations = self.study.evaluations
        training = training_flops(run)
        flops, state, done = training, "new", False
        if key in self._existing:
            directory = self.workspace.run(run)
            result = directory.result()
            state = result["state"] if result else directory.status()["state"]
            if result and state == "done":
                self._note_rate(result)
                flops = 0.0
                evaluations = directory.missing_evaluations(evaluations)
                if evaluations:
                    state = "evaluate"
            # A diverged student is a result; a diverged teacher cannot serve anyone.
            done = state == "done" or (state == "diverged" and kind != "teacher")
        if done:
            evaluations = self.study.evaluations
            flops = training
        flops += evaluation_flops(evaluations, run, compared=kind != "teacher")
        return Artifact(kind, key, label, done, run, flops=flops, bytes=16.0 * sizes(run)[1], state=state)

    def _note_rate(self, result: dict[str, Any]) -> None:
        if result["seconds"]["train"] > 0:
            self.finished_rates.append(result["flops"]["student"] / result["seconds"]["train"])

    def _use_store(self, run: Run, cell: Cell, at: str) -> None:
        spec = spec_of(run)
        assert spec is not None
        assert isinstance(run.objective, KD)
        self._use(spec, required_coverage(run.objective), run.view.sequences(run.data), cell, at)

    def _use(self, spec: StoreSpec, coverage: Coverage, sequences: range, cell: Cell, at: str) -> None:
        """Note what is wanted of a teacher over sequences, or the problem that its one store cannot hold it, too."""
        coverages, ranges = self._uses.setdefault(spec, (set(), set()))
        ranges.add((sequences.start, sequences.stop))
        found = conflict([*coverages, coverage])
        if found is None:
            coverages.add(coverage)
        else:
            allowed = f"{found.allowed}, and runs of one teacher and view share a store"
            name = f"{at}{found.field}"
            problem = Problem(name, found.found, allowed).at(self._spot(cell, name))
            self.problems += [problem] if problem not in self.problems else []  # each seed has it

    def _stores(self) -> tuple[dict[StoreNeed, Artifact], list[StoreNeed]]:
        """Captures, and stores that a run writes as it trains."""
        captures: dict[StoreNeed, Artifact] = {}
        records: list[StoreNeed] = []
        for spec, (wanted, ranges) in self._uses.items():
            parts = merged_ranges(ranges)
            for sequences in parts:
                coverage, done = self._find_store(spec, wanted, sequences)
                need = StoreNeed(spec, coverage, sequences)
                if isinstance(spec.teacher, Online):
                    records.append(need)
                else:
                    captures[need] = _capture_item(need, done, alone=len(parts) == 1)
        return captures, records

    def _find_store(self, spec: StoreSpec, wanted: set[Coverage], sequences: range) -> tuple[Coverage, bool]:
        """A store that admits all, best one that holds all, too; else the join of what is wanted."""
        folder = self.workspace.stores(spec)
        short: Coverage | None = None
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            manifest = read_json(path / "manifest.json", f"move {path} away and run again to capture anew")
            if manifest is None:
                continue
            coverage = decode(manifest["coverage"])
            if all(coverage.admits(w) for w in wanted):
                if holds(path, sequences):
                    return coverage, True
                short = short or coverage
        return short or union(wanted), False


def _capture_item(need: StoreNeed, done: bool, *, alone: bool) -> Artifact:
    spec, sequences = need.spec, need.sequences
    assert not isinstance(spec.teacher, Online)
    key = f"{fingerprint(spec)}/{need.coverage.label}"
    if not alone:
        key += f"@{sequences.start}-{sequences.stop}"
    tokens = len(sequences) * spec.view.context
    needs = (fingerprint(spec.corpus), *((fingerprint(spec.teacher),) if isinstance(spec.teacher, Run) else ()))
    return Artifact(
        "logits",
        key,
        f"{need.coverage.label}, {si(tokens)} tokens",
        done,
        need,
        needs,
        teacher_flops(spec.teacher, spec.view.context) * tokens,
        tokens * bytes_per_token(need.coverage, vocabulary(spec.teacher)),
        "done" if done else "new",
    )


def _rate(study: Study, measured: list[float]) -> tuple[float, str]:
    if measured:
        middle = sorted(measured)[len(measured) // 2]
        return middle, f"median of {len(measured)} finished runs of this study here"
    return study.machine.flops_per_second, f"assumed for {study.machine.name}"


def _listed(path: Path, wrong: Sequence[Problem]) -> str:
    here = str(Path.cwd()) + os.sep
    lines = "\n".join(f"  {p}".replace(here, "") for p in wrong)
    return f"{path} has {len(wrong)} problem{'s' if len(wrong) > 1 else ''}:\n{lines}"


def checked_plan(name: str, scale: str | None, workspace: Workspace, only: str | None = None) -> Plan:
    """The plan of a study file against a workspace, of the cells whose names match `only` where given.

    Raises `ConfigError` with all of the study's problems at once.
    """
    study = load_study(name, scale)
    plan = make_plan(dataclasses.replace(study, only=only), workspace)
    if plan.problems:
        raise ConfigError(_listed(find_study(name), plan.problems))
    if not plan.study.cells and (only is not None or not plan.study.captures):
        names = ", ".join(c.name for c in study.cells[:3])
        raise ConfigError(f"--only {only!r} matches no cell; cells are named like {names}")
    return plan
