"""Making a plan: what a study needs, what of it exists, and what the rest costs. Reads the workspace, changes nothing.

The artifacts are in an order in which they can be made: corpora, teachers, stores, losses of teachers that are not
trained here, students, finetuning, answers to tasks. Shared ones appear once. Nothing here imports torch, numpy or
pandas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import probe_teacher
from pdstudy.config.logits import Capture, Coverage, StoreNeed, StoreSpec, required_coverage, spec_of
from pdstudy.config.normal_form import normal_form
from pdstudy.config.run import KD, Online, Pretrained, Run
from pdstudy.core.format import si
from pdstudy.core.identity import fingerprint
from pdstudy.core.origin import spot_of
from pdstudy.core.run_files import whole_answers
from pdstudy.core.run_state import TRAINED
from pdstudy.core.validation import Problem
from pdstudy.plan.artifact import AnswersArtifact, Artifact, Role, RunArtifact, StoreArtifact
from pdstudy.plan.branches import branched
from pdstudy.plan.cost import evaluation_flops, sizes, steps_flops, tokens_read, training_flops
from pdstudy.plan.inputs import Inputs
from pdstudy.plan.known_models import recognise
from pdstudy.plan.model_size import check_students
from pdstudy.plan.plan import Plan, ordered
from pdstudy.plan.preflight import missing_packages
from pdstudy.plan.rate import measured_rate, plan_rate
from pdstudy.plan.replay import replay_needed
from pdstudy.plan.store_needs import StoreNeeds
from pdstudy.plan.teacher_losses import TeacherLosses
from pdstudy.study.study import Cell, Study
from pdstudy.workspace.layout import Workspace
from pdstudy.workspace.store_index import inside

ROLES: tuple[Role, ...] = ("teacher", "finetune", "student")
"""The roles of runs. A run that has several is listed under the last of them."""


def make_plan(study: Study, workspace: Workspace) -> Plan:
    """Expand, check and price a study against a workspace. Problems are returned, never raised."""
    study = recognise(study, workspace)
    problems = study.problems()
    if problems:
        return Plan(study, (), problems=tuple(problems))
    if wrong := list(_student_problems(study)):
        return Plan(study, (), problems=tuple(wrong))
    builder = _Builder(study, workspace)
    for cell in study.cells:
        builder.add(cell)
    for name, capture in study.captures.items():
        builder.capture(name, capture)
    absent = [f"not here: {a.found} ({a.field}), priced as declared" for a in study.missing]
    rate, source = plan_rate(study, [rate for rate in builder.rates if rate is not None])
    artifacts = builder.artifacts()
    packages = missing_packages(study, (artifact for artifact in artifacts if not artifact.done))
    absent += [f"not here: {p.found}, needed to run ({p.field}): {p.allowed}" for p in packages]
    warnings = (*builder.repeats(), *absent, *dict.fromkeys(builder.inputs.doubts), *builder.retrained)
    return Plan(study, artifacts, warnings, tuple(builder.problems), rate, source, packages, builder.keys)


def _student_problems(study: Study) -> Iterator[Problem]:
    """Problems of the models that runs, their teachers and captured teachers build, with file and line."""
    teachers = [cell.run.teacher for cell in study.cells]
    teachers += [capture.spec.teacher for capture in study.captures.values()]
    wanted = [cell.run for cell in study.cells]
    wanted += [t.run if isinstance(t, Online) else t for t in teachers if isinstance(t, Run | Online)]
    for run, problem in check_students(wanted):
        cell = next((cell for cell in study.cells if cell.run is run), None)
        spot = spot_of(run, problem.field) if cell is None else cell.spot_of(problem.field)
        yield problem.at(spot or study.where)


class _Builder:
    """A plan in the making: cells are added one by one, `artifacts` puts together what they need."""

    def __init__(self, study: Study, workspace: Workspace) -> None:
        self.study = study
        self.workspace = workspace
        self._repeats: dict[int, list[tuple[float, str]]] = {}
        self.retrained: list[str] = []
        self.inputs = Inputs(study, workspace)
        self.problems = self.inputs.problems
        self.keys: dict[str, str] = {}
        self._runs: dict[str, RunArtifact] = {}
        self._cells: dict[str, list[str]] = {}
        self._stores = StoreNeeds(workspace)
        self._losses = TeacherLosses(study, workspace)
        self._exports: dict[str, set[int]] = {}
        self._answers: dict[str, AnswersArtifact] = {}
        runs = workspace.root / "runs"
        self._existing = {p.name for p in runs.iterdir()} if runs.is_dir() else set()
        self.rates: list[float | None] = []

    def add(self, cell: Cell) -> None:
        """Add a cell's run, all that it needs, and its evaluation on tasks."""
        run = normal_form(cell.run)
        key = fingerprint(run)
        self.keys[cell.name] = key
        self._cells.setdefault(key, []).append(cell.name)
        self._run("student", run, cell.name, cell)
        self._losses.add(run, cell.name, self.inputs.other_corpora(cell))
        for i, tasks in enumerate(self.study.downstream_of(cell)):
            for step in tasks.steps(run):
                self._evaluate(tasks, run, step, cell, f"downstream[{i}].")

    def capture(self, name: str, capture: Capture) -> None:
        """Add a store that the study wants for itself."""
        cell = Cell({}, 0, self.study.base)
        self.inputs.corpus(capture.corpus, [(f"captures[{name!r}].data", capture.data)], cell)
        if isinstance(capture.spec.teacher, Run):
            self._teacher(capture.spec.teacher, cell, f"captures[{name!r}].teacher.")
            self.inputs.note_seen(capture.spec.teacher, capture.data, cell, f"captures[{name!r}].teacher")
        sequences = capture.view.sequences(capture.data)
        self._use(capture.spec, capture.coverage, sequences, cell, f"captures[{name!r}].")

    def _evaluate(self, downstream: Downstream, run: Run, step: int | None, cell: Cell, where: str) -> None:
        """Add tasks for a run's model, at its end or after a step, or for what is finetuned from that."""
        key, model = downstream.answers(run, step), run
        at = "" if step is None else f" after {si(step * run.tokens_per_step)} tokens"
        if (finetuned := downstream.finetuned(run, step)) is not None:
            label = f"{cell.name}{at}: {si(finetuned.num_tokens)} tokens"
            self._run("finetune", finetuned, label, cell, f"{where}finetune.")
            model, step = finetuned, None
            at += ", finetuned"
        elif step is not None:
            self._exports.setdefault(fingerprint(run), set()).add(step)
        if key in self._answers:
            return
        tasks = ", ".join(task.name for task in downstream.tasks)
        done = whole_answers(self.workspace.root / "downstream" / key) is not None
        self._answers[key] = AnswersArtifact(
            key=key,
            label=f"{cell.name}{at}: {tasks}",
            done=done,
            state="done" if done else "new",
            needs=(fingerprint(model),),
            flops=sizes(run)[2] * tokens_read(downstream)[0],
            downstream=downstream,
            run=model,
            step=step,
        )

    def _run(self, role: Role, run: Run, label: str, cell: Cell, at: str = "") -> str:
        """Add a run, after all that it needs; its key. One that has several roles gets the last of `ROLES`.

        `at`: where in the cell's run it is declared, in messages.
        """
        key = fingerprint(run)
        if key in self._runs and ROLES.index(role) <= ROLES.index(self._runs[key].role):
            return key
        self._runs[key] = self._run_artifact(role, key, label, run)  # before its needs, which may lead back to it
        needs = [self.inputs.corpus(run.corpus, [(f"{at}data", run.data)], cell), *self.inputs.other_corpora(cell)]
        teacher = run.teacher
        if isinstance(teacher, Run):
            needs.append(self._teacher(teacher, cell, f"{at}objective.teacher."))
            self.inputs.note_seen(teacher, run.data, cell, f"{at}objective.teacher")
        elif isinstance(teacher, Online):
            needs.append(self._teacher(teacher.run, cell, f"{at}objective.teacher.run."))
        elif isinstance(teacher, Pretrained):
            self.inputs.check_folder(teacher, needs[0], f"{at}objective.teacher", cell)
        if teacher is not None and not run.is_live:
            self._use_store(run, cell, f"{at}objective.")
        if run.start is not None and isinstance(run.start.model, Pretrained):
            self.inputs.check_folder(run.start.model, needs[0], f"{at}start.model", cell)
        if run.start is not None and isinstance(run.start.model, Run):
            needs.append(self._started_from(run.start.model, run.start.step, cell, f"{at}start.model."))
        probed = [probe_teacher(e, run) for e in self.study.evaluations] if role != "teacher" else []
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
        """Add the run whose weights another starts from; those of a step before its end become an export of it."""
        key = fingerprint(model)
        if key not in self._runs:
            self._run("student", model, f"{cell.name}, where it starts from", cell, at)
        if step is not None:
            self._exports.setdefault(key, set()).add(step)
        return key

    def repeats(self) -> list[str]:
        """Warnings: a line per slice that runs read more than once."""
        lines = []
        for tokens, runs in self._repeats.items():
            epochs, label = max(runs)
            count = f"{len(runs)} runs go" if len(runs) > 1 else "1 run goes"
            lines.append(f"{count} through a slice of {tokens:,} tokens up to {epochs:.2f} times: {label}")
        return lines

    def artifacts(self) -> tuple[Artifact, ...]:
        """All of them, each behind what it needs."""
        captured, written = self._stores.resolve()
        made = {key: self._with_outputs(artifact, written) for key, artifact in self._runs.items()}
        made |= branched([artifact for artifact in made.values() if artifact.role == "student"], self.workspace)
        runs = [self._with_reads(artifact, captured, written) for artifact in made.values()]
        teachers, finetuned, students = ([artifact for artifact in runs if artifact.role == role] for role in ROLES)
        of_text = (*self.inputs.corpora.values(), *teachers, *captured.values(), *self._losses.artifacts(), *students)
        return ordered((*of_text, *finetuned, *self._answers.values()))

    def _with_reads(
        self, artifact: RunArtifact, captured: dict[StoreNeed, StoreArtifact], written: list[StoreNeed]
    ) -> RunArtifact:
        """A run with its cells, and the store that it reads."""
        cells = tuple(self._cells.get(artifact.key, ()))
        artifact = dataclasses.replace(artifact, cells=cells, label=cells[0] if cells else artifact.label)
        spec = spec_of(artifact.run)
        if spec is None:
            return artifact
        wanted = artifact.run.view.sequences(artifact.run.data)
        store = next(s for s in (*captured, *written) if s.spec == spec and inside(wanted, s.sequences))
        needs = (*artifact.needs, captured[store].key) if store in captured else artifact.needs
        return dataclasses.replace(artifact, reads=store, needs=needs)

    def _with_outputs(self, artifact: RunArtifact, written: list[StoreNeed]) -> RunArtifact:
        """A run with the models and logits that others need of it; steps that are over are trained again for them."""
        run = artifact.run
        records = tuple(n for n in written if isinstance(n.spec.teacher, Online) and n.spec.teacher.run == run)
        exports = tuple(sorted(self._exports.get(artifact.key, ())))
        artifact = dataclasses.replace(artifact, records=records, exports=exports)
        if artifact.state in ("new", "diverged") or not (records or exports):
            return artifact
        folder = artifact.directory(self.workspace)
        stores = [(self.workspace.store(need.spec, need.coverage), need.sequences) for need in records]
        replay = replay_needed(run, folder, exports, stores)
        if replay is None:
            return artifact
        start = replay.start(folder)
        steps = f"steps {start + 1} to {replay.until}"
        self.retrained.append(f"{artifact.label}: {steps} are trained again, for what was not wanted of them then")
        more = steps_flops(run, replay.until - start)
        state = "again" if artifact.state in ("done", "evaluate") else artifact.state
        flops = (0.0 if artifact.done else artifact.flops) + more
        return dataclasses.replace(artifact, done=False, state=state, flops=flops)

    def _run_artifact(self, role: Role, key: str, label: str, run: Run) -> RunArtifact:
        evaluations = self.study.evaluations
        training = training_flops(run)
        flops, state, done = training, "new", False
        if key in self._existing:
            directory = self.workspace.run(run)
            state = directory.state(evaluations)
            if state in TRAINED:
                self.rates.append(measured_rate(directory))
                flops, evaluations = 0.0, directory.missing_evaluations(evaluations)
            # A diverged student is a result; a diverged teacher cannot serve anyone.
            done = state == "done" or (state == "diverged" and role != "teacher")
        if done:
            evaluations = self.study.evaluations
            flops = training
        flops += evaluation_flops(evaluations, run, compared=role != "teacher")
        return RunArtifact(
            key=key, label=label, done=done, state=state, flops=flops, bytes=16.0 * sizes(run)[1], run=run, role=role
        )

    def _use_store(self, run: Run, cell: Cell, at: str) -> None:
        spec = spec_of(run)
        assert spec is not None
        assert isinstance(run.objective, KD)
        self._use(spec, required_coverage(run.objective), run.view.sequences(run.data), cell, at)

    def _use(self, spec: StoreSpec, coverage: Coverage, sequences: range, cell: Cell, at: str) -> None:
        """Note a need of logits, or the problem that the one store of a teacher and view cannot hold it, too."""
        found = self._stores.add(spec, coverage, sequences)
        if found is not None:
            allowed = f"{found.allowed}, and runs of one teacher and view share a store"
            name = f"{at}{found.field}"
            problem = Problem(name, found.found, allowed).at(self.inputs.spot(cell, name))
            self.problems += [problem] if problem not in self.problems else []  # each seed has it
