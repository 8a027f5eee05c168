"""The scale of a family of studies: sizes, text, length and rates, declared once for all its study files.

A study of a family names what varies; a `Scale` says of what size, on what text, for how long, at which rates. The
studies of `studies/paper` take one, so that the paper's sizes and a ladder for two cores are the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pdstudy.config.alpha import PeriodicMix, WSDMix
from pdstudy.config.data import Corpus, Slice, View
from pdstudy.config.downstream import Downstream
from pdstudy.config.evaluation import Evaluation
from pdstudy.config.logits import Kept
from pdstudy.config.losses import KLD, MSE, WTTM, Adaptive, NormKD, Temperature
from pdstudy.config.model import Student
from pdstudy.config.optimizer import WSD, AdamW, Cosine
from pdstudy.config.placement import CPU_CORE, Execution, Machine, Placement
from pdstudy.config.run import KD, LM, Objective, Pretrained, Run
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.plan.cost import sizes, teacher_flops
from pdstudy.study.grid import Arm, Change, Grid, changed
from pdstudy.study.study import Study


@dataclass(frozen=True)
class Scale:
    """Sizes, text, budget, protocol and the levels of the axes of a family of studies.

    `students` are from small to large; `anchor` is the one of every study that has a single size. The first of
    `teachers` serves wherever a study has a single one. `rates` are peak learning rates by student, for LM and for KD
    (any run that uses a teacher); one number holds for all. `steps` of `tokens_per_step` are the short budget,
    `long_steps` the long one of the study of tokens, scored every `checkpoint_steps`; both read `data` from its
    beginning. `budgets` are the steps that S11b branches to; none: where the long runs are scored. `online_teacher`
    writes logits as it trains (`order="stream"`). `controls` adds the runs that the paper lacks: LM at the compute of
    student and teacher inference, and LM and offline distillation on the online windows. `inspected` is the held-out
    text of which S3b counts kept logits.

    What the paper leaves open (its learning rate, warm-up, decay, end points, constants of adaptive temperatures) are
    fields here: `optimiser`, `cosine`, `wsd`, `alpha_wsd`, `alpha_max`, `period`, `mse`, `norm_kd`, `wttm`,
    `by_spread`, `by_entropy`.
    """

    name: str
    students: Mapping[str, Student]
    anchor: str
    teachers: Mapping[str, Run | Pretrained]
    online_teacher: Run
    corpus: Corpus
    view: View
    data: Slice
    tokens_per_step: int
    steps: int
    long_steps: int
    checkpoint_steps: int
    optimiser: AdamW
    rates: Mapping[tuple[str, str], float] | float
    cosine: Cosine
    wsd: WSD
    alpha_wsd: WSDMix
    by_spread: Adaptive
    by_entropy: Adaptive
    evaluations: tuple[Evaluation, ...]
    inspected: Slice
    downstream: tuple[Downstream, ...] = ()
    budgets: tuple[int, ...] = ()
    cut: TopPK = TopPK(p=0.95, k=100)
    star_cut: TopPK = TopPK(p=0.95, k=50)
    alpha_max: float = 1.0
    star_alpha: float = 0.9
    star_tau: float = 2.0
    period: PeriodicMix = PeriodicMix(cycles=10)
    mse: MSE = MSE(on="logits")
    norm_kd: NormKD = NormKD()
    wttm: WTTM = WTTM(tau=2.0)
    ps: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
    ks: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100)
    taus: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    alphas: tuple[float, ...] = (0.0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    long_students: tuple[str, ...] = ()
    star_students: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    precision: str = "float32"
    controls: bool = True
    elsewhere: bool = False
    machine: Machine = CPU_CORE
    placement: Placement = Placement()
    executions: tuple[Execution, ...] = field(default=())
    kept: tuple[Kept, ...] = ()

    @property
    def tokens(self) -> int:
        """The short budget."""
        return self.steps * self.tokens_per_step

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps before its end at which a long run is scored."""
        return tuple(range(self.checkpoint_steps, self.long_steps, self.checkpoint_steps))

    @property
    def branch_steps(self) -> tuple[int, ...]:
        """The budgets of S11b, in steps."""
        return self.budgets or (*self.checkpoints, self.long_steps)

    @property
    def teacher(self) -> Run | Pretrained:
        """The one that serves wherever a study has a single teacher."""
        return next(iter(self.teachers.values()))

    def run(self, student: str | None = None, objective: Objective = LM(), **changes: Any) -> Run:  # noqa: B008
        """A student's run at the short budget: LM of the anchor under the cosine schedule, with `changes`."""
        fields: dict[str, Any] = {
            "student": self.students[student or self.anchor],
            "corpus": self.corpus,
            "data": dataclasses.replace(self.data, tokens=self.tokens),
            "view": self.view,
            "objective": objective,
            "optimiser": self.optimiser,
            "schedule": self.cosine,
            "tokens_per_step": self.tokens_per_step,
            "steps": self.steps,
            "precision": self.precision,
        }
        return self.tuned(Run(**(fields | changes)))

    def kd(self, **changes: Any) -> KD:
        """The paper's vanilla distillation: top-0.95-100, tau 1, NLL, alpha 1, offline logits of the first teacher."""
        return KD(**({"teacher": self.teacher, "truncation": self.cut, "alpha": 1.0} | changes))

    @property
    def star(self) -> KD:
        """The objective of the paper's best recipe, PD*; its learning rate is under `wsd`."""
        return self.kd(
            truncation=self.star_cut,
            temperature=Temperature(tau=self.star_tau),
            loss=KLD(),
            alpha=self.star_alpha,
            mix=self.alpha_wsd,
        )

    def tuned(self, run: Run) -> Run:
        """The run at the peak learning rate of its student, for LM or for KD."""
        return dataclasses.replace(run, optimiser=dataclasses.replace(run.optimiser, lr=self.rate(run)))

    def rate(self, run: Run) -> float:
        """The peak learning rate of a run's student. Its own where the scale has none for such a student."""
        if not isinstance(self.rates, Mapping):
            return self.rates
        loss = "LM" if run.teacher is None else "KD"
        label = next((name for name, student in self.students.items() if student == run.student), "")
        return self.rates.get((label, loss), run.optimiser.lr)

    def compute_matched_steps(self, kd: Run) -> int:
        """Steps of an LM run that cost what `kd` and the teacher's inference over its text cost together."""
        assert kd.teacher is not None
        own = 3 * sizes(kd)[2]
        return round(kd.num_steps * (own + teacher_flops(kd.teacher, kd.view.context)) / own)

    def study(self, name: str, *, base: Run | None = None, **fields: Any) -> Study:
        """A study at this scale, called `SCALE-NAME`, each arm at its learning rate.

        Raises `ConfigError` with all names of students that are none of the scale's, and rates that are lacking.
        """
        if wrong := list(self._misnamed()):
            raise ConfigError(f"scale {self.name!r}: {'; '.join(wrong)}")
        base = base or self.run()
        grid = fields.pop("grid")
        common: dict[str, Any] = {
            "seeds": self.seeds,
            "evaluations": self.evaluations,
            "downstream": self.downstream,
            "placement": self.placement,
            "executions": self.executions,
            "machine": self.machine,
            "elsewhere": self.elsewhere,
            "kept": self.kept,
        }
        arms = tuple(self._at_rate(base, a) for a in grid.arms)
        return Study(name=f"{self.name}-{name}", base=base, grid=Grid(arms), **(common | fields))

    def _misnamed(self) -> Iterator[str]:
        known = f"allowed: its students, {', '.join(self.students)}"
        for named, names in (("anchor", (self.anchor,)), ("long_students", self.long_students),
                              ("star_students", self.star_students)):  # fmt: skip
            yield from (f"{named}: found {name!r}; {known}" for name in names if name not in self.students)
        if isinstance(self.rates, Mapping):
            needed = {(student, loss) for student in self.students for loss in ("LM", "KD")}
            if lacking := sorted(needed - set(self.rates)):
                yield f"rates: none for {', '.join(map(str, lacking))}; give one for each, or one number for all"
            if unknown := sorted(set(self.rates) - needed):
                yield f"rates: found {', '.join(map(str, unknown))}; {known}, each with 'LM' and 'KD'"

    def _at_rate(self, base: Run, arm: Arm) -> Arm:
        run, wrong = changed(base, arm)
        if wrong or not arm.changes:  # faults are the study's to report, all at once
            return arm
        return Arm(arm.labels, (*arm.changes, Change("optimiser.lr", self.rate(run), arm.changes[-1].place)))
