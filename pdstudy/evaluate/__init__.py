"""The worth of a model: held-out losses and calibration, agreement with a teacher, downstream tasks by lm-eval.

Nothing here trains, and what is measured is declared in `pdstudy.config.evaluation` and `pdstudy.config.downstream`.
The names that other packages use:

- `heldout.evaluate`, `heldout.evaluate_export`, `heldout_data.held_out`: a row of evals.jsonl;
- `heldout_teacher.evaluate_teacher`: held-out losses of a teacher that was not trained here;
- `probes.compared`: the columns of a probe that compares with a teacher;
- `gradient_angles.angles`: angle and length of an objective's gradient against full distillation;
- `lm_eval_run.evaluate_downstream`: tasks of any transformers folder.
"""
