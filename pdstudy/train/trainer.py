"""One attempt at a run: its parts, and everything it writes. Every rank has a `Trainer`; the main rank's writes."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from pdstudy.config.evaluation import Evaluation
from pdstudy.config.model import width_multiplier
from pdstudy.config.trajectory import lasting_steps
from pdstudy.core import provenance
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import read_json, truncate_jsonl, write_json
from pdstudy.corpus import TokenCorpus
from pdstudy.evaluate.heldout import evaluate
from pdstudy.evaluate.heldout_data import held_out
from pdstudy.evaluate.probes import compared
from pdstudy.models import attention
from pdstudy.models import build_model as models
from pdstudy.models.distributed import Ranks
from pdstudy.models.experts import active_parameters
from pdstudy.models.export import export
from pdstudy.models.flops import forward_flops
from pdstudy.models.parallelize import lay_out
from pdstudy.train import setup as inputs
from pdstudy.train.checkpoint import Checkpoints
from pdstudy.train.loader import BatchLoader
from pdstudy.train.online_logits import OnlineLogits, check_passed
from pdstudy.train.recorder import Clock, Diverged, Recorder, peak_flops
from pdstudy.train.result import make_result
from pdstudy.train.rows import sync_rows
from pdstudy.train.starting_point import find_checkpoint
from pdstudy.train.training_job import TrainingJob
from pdstudy.train.weight_update import adamw
from pdstudy.workspace.run_dir import RunDir

STATUS_SECONDS = 3.0
"""Seconds between writes of status.json."""


AGREE_EVERY = {"cpu": 1, "cuda": 10}
"""Steps between agreements of the ranks on stopping and saving: the hosts of GPUs should run ahead of these."""


WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""State dicts of whole tensors on the CPU, as an export needs them."""


class Trainer:
    """Model, optimiser, data and files of one attempt. Raises `ConfigError` on what does not fit together."""

    def __init__(
        self,
        job: TrainingJob,
        directory: RunDir,
        corpus: TokenCorpus,
        ranks: Ranks,
        progress: Callable[[str, float], None],
    ) -> None:
        run, placement, evaluations = job.run, job.placement, job.evaluations
        self.job, self.run, self.directory, self.corpus = job, run, directory, corpus
        self.ranks, self.progress = ranks, progress
        inputs.check_corpus(run, corpus)
        self.texts = {e: held_out(e, run.view, corpus) for e in evaluations}
        torch.set_num_threads(placement.threads)
        self.attention = attention.choose(
            placement.attention, student=run.student, precision=run.precision, device=ranks.device
        )
        self.packed = self.attention == "flash_attention_2"
        self.compared = {e: compared(e, run, job.probed, corpus) for e in evaluations}
        self.online = OnlineLogits(run, job.online, corpus)
        stored = inputs.open_run_store(run, job.store, corpus)
        self.live = inputs.load_live_teacher(run, job.teacher, corpus, ranks)
        self.loader = BatchLoader(run, corpus, stored, placement, ranks, packed=self.packed, live=self.live)
        self.model = models.build_model(run.student, seed=run.seed, attention=self.attention).to(ranks.device)
        if (begun := inputs.start_folder(run, job.start)) is not None:
            models.start_from(self.model, begun, corpus.vocab)
        self.parameters, self.active = models.parameter_counts(self.model), active_parameters(self.model)
        lay_out(self.model, placement, ranks, run.precision)
        self.optimiser = adamw(self.model, run.optimiser, width_multiplier(run.student))
        self.forward_flops = forward_flops(run.student, run.view.context)
        self.clock = Clock()
        self.recorder = Recorder(
            directory,
            self.clock,
            ranks,
            num_steps=run.num_steps,
            tokens_per_step=run.tokens_per_step,
            flops_per_token=3 * self.forward_flops,
            peak=peak_flops(provenance.device_name()),
            check=self._check_teacher,
        )
        self.lasting = lasting_steps(run)
        self._last_save = self._last_status = time.monotonic()
        self.attempt = ranks.on_main(self._open_directory)
        self.checkpoints = Checkpoints(
            directory.checkpoints, self.model, self.optimiser, ranks, self.lasting, self.attempt, directory.guard
        )

    def _check_teacher(self, steps: Iterable[int]) -> None:
        """Raise `ConfigError` where a live teacher had logits that are not numbers in one of `steps` (1-based)."""
        if self.live is None or not any(self.ranks.any(bool(self.live.wrong))):
            return
        fault = None
        for step in steps:
            for _, batch in self.loader.step(step - 1)[1]:
                try:
                    self.live.check_finite(batch)
                except ConfigError as error:
                    fault = fault or str(error)
        raise ConfigError(self.ranks.first(fault) or "the teacher has hidden states that are not numbers")

    def _open_directory(self) -> int:
        self.directory.create(self.run)
        path = self.directory.path / "provenance.json"
        before = read_json(path)
        earlier = [*before.pop("earlier"), before] if before else []
        now = provenance.collect(
            attempt=len(earlier) + 1,
            attention=self.attention,
            device=provenance.device_name(),
            ranks=self.ranks.size,
            threads=torch.get_num_threads(),
        )
        write_json(path, {**now, "earlier": earlier})
        return len(earlier) + 1

    def resume(self) -> int:
        """Restore the newest checkpoint, or that of a relative, and drop rows that will be written again.

        Returns the steps completed.
        """
        step = 0
        newest = self.ranks.on_main(self._find_checkpoint)
        if newest is not None:
            trainer = self.checkpoints.load(Path(newest))
            step = trainer["step"]
            self.clock.seconds.update(trainer["seconds"])
            self.recorder.resume(trainer["pending"], step)
        if step in self.job.exports and not self.directory.export(step).exists():
            self._export_step(step)
        check_passed(self.directory, step, self.job.exports, self.online)
        self.ranks.on_main(lambda: self._drop_rows_after(step))
        self._status("running", step)
        self.ranks.say(f"attempt {self.attempt} begins after step {step:,} of {self.run.num_steps:,}")
        return step

    def _find_checkpoint(self) -> str | None:
        """The path of the checkpoint to go on from, as text."""
        exports = (step for step in self.job.exports if not self.directory.export(step).exists())
        found = find_checkpoint(self.job, self.directory, limit=min([self.online.first_step, *exports]))
        return None if found is None else str(found)

    def _drop_rows_after(self, step: int) -> None:
        truncate_jsonl(self.directory.metrics_file, step)
        # Rows of the last step come from the final evaluations, which are made again.
        truncate_jsonl(self.directory.evals_file, min(step, self.run.num_steps - 1))

    def after(self, step: int, stop: bool) -> bool:
        """Do what is due at the end of a step: status, exports, evaluations, a checkpoint. True: saved, and to stop."""
        if time.monotonic() - self._last_status > STATUS_SECONDS:
            self._status("running", step)
        if step == self.run.num_steps:
            return False
        if step in self.job.exports:
            self._export_step(step)
        for heldout in self.job.evaluations:
            if heldout.every_tokens is not None and self._crosses(heldout.every_tokens, step):
                self._evaluate(heldout, step)
        self.checkpoints.publish()
        due = time.monotonic() - self._last_save > 60 * self.job.placement.save_minutes
        if self.ranks.size == 1 or step % AGREE_EVERY[self.ranks.device.type] == 0:
            stop, due = self.ranks.any(stop, due)
        else:
            stop = due = False
        if stop or due or step in self.lasting:
            self._save(step, background=not stop)
        return stop

    def _crosses(self, every: int, step: int) -> bool:
        per_step = self.run.tokens_per_step
        return step * per_step // every > (step - 1) * per_step // every

    def _status(self, state: str, step: int) -> None:
        self._last_status = time.monotonic()
        if not self.ranks.main:
            return
        left = (self.run.num_steps - step) * self.run.tokens_per_step
        speed = self.recorder.tokens_per_second
        self.directory.set_status(
            state,
            step=step,
            steps=self.run.num_steps,
            tokens_per_second=round(speed, 1),
            eta_seconds=round(left / speed, 1) if speed else None,
        )
        self.progress("train", step / self.run.num_steps)

    def _save(self, step: int, *, background: bool) -> None:
        """Save a checkpoint, of a state that is known to be finite. Raises `Diverged` where it is not."""
        self.recorder.drain()
        with self.clock.charge("save"):
            self.online.flush()
            rows = self.ranks.on_main(lambda: sync_rows(self.directory, step))
            seconds = dict(self.clock.seconds)
            trainer = {"step": step, "pending": self.recorder.pending, "seconds": seconds, "rows": rows}
            self.checkpoints.save(step, trainer, background=background)
        self._last_save = time.monotonic()

    def _evaluate(self, heldout: Evaluation, step: int, *, final: bool = False) -> dict[str, Any]:
        self.recorder.drain()
        with self.clock.charge("evaluate"):
            bound = self.job.placement.micro_batch_tokens
            scored = evaluate(
                self.model,
                self.texts[heldout],
                batch_tokens=bound,
                packed=self.packed,
                teacher=self.compared[heldout],
                ranks=self.ranks,
                keep=self.directory.keep_sequences if final else None,
            )
            if not math.isfinite(scored["loss"]):  # the last update made it so: no step is left to notice
                raise Diverged(step, f"{scored['split']} loss is {scored['loss']}")
            row = {"step": step, "tokens": step * self.run.tokens_per_step, **scored, "final": final}
            if self.ranks.main:
                self.directory.append_eval(row)
            self.ranks.say(f"step {step:,}: {row['split']} loss {row['loss']:.4f} over {row['tokens_scored']:,} tokens")
        return row

    def stopped(self, step: int) -> str:
        self.ranks.say(f"stopped after step {step:,}, with all saved")
        self._status("stopped", step)
        return "stopped"

    def diverged(self, divergence: Diverged) -> str:
        """End a run whose loss is not a number: no checkpoint, no model; rows up to there stay."""
        self.checkpoints.finish()
        self._finish("diverged", divergence.step, evals=[], step=divergence.step, reason=divergence.reason)
        return "diverged"

    def done(self) -> str:
        """End a run at its last step: checkpoint, evaluations and export, then result.json."""
        steps = self.run.num_steps
        self._save(steps, background=False)
        evals = [self._evaluate(heldout, steps, final=True) for heldout in self.job.evaluations]
        with self.clock.charge("save"):
            if steps in self.job.exports:
                self._export_step(steps)
            self._export(self.directory.model, steps, evals)
            self.checkpoints.settle()
        self._finish("done", steps, evals=evals)
        return "done"

    def _export_step(self, step: int) -> None:
        self.recorder.drain()
        with self.clock.charge("save"):
            self._export(self.directory.export(step), step, [])

    def _export(self, folder: Path, step: int, evals: list[dict[str, Any]]) -> None:
        weights: dict[str, Any] = get_model_state_dict(self.model, options=WHOLE)

        def write() -> None:
            self.directory.guard()
            config, key = self.model.config, self.directory.key
            export(config, weights, folder, run=self.run, key=key, corpus=self.corpus, steps=step, evals=evals)

        self.ranks.on_main(write)
        weights.clear()
        gc.collect()  # a model is a cycle, and the training loop runs without the collector

    def _finish(self, state: str, steps: int, *, evals: list[dict[str, Any]], **more: object) -> None:
        self.ranks.say(f"{state} after step {steps:,}")
        if not self.ranks.main:
            return
        self.clock.lap()
        result = make_result(
            self.run,
            self.directory,
            steps,
            evals=evals,
            parameters=self.parameters,
            active=self.active,
            forward_flops=self.forward_flops,
            seconds=self.clock.seconds,
        )
        self.directory.guard()
        write_json(self.directory.path / "result.json", {"state": state, **result, "attempts": self.attempt, **more})
        self._status(state, steps)
