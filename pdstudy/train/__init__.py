"""One run: its training loop, checkpoints, metrics and exports, on one process or many ranks.

Nothing here decides what to run, or where. The names that other packages use:

- `training_job.TrainingJob`: a run with all that training it needs, as a file (`python -m pdstudy.train JOB.json`);
- `run_job.run_job`: bring a job's run to its end, and make what came to be wanted later;
- `loop.train`: the training alone; `stop_signals.StopSignals`: signals as a reason to stop.

They are imported from these modules: a face that did so would load torch wherever a job is written.
"""
