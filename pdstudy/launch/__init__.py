"""Making a plan's artifacts on this machine: worker processes, the work behind each artifact, and its progress.

Nothing here decides what is to be made (`pdstudy.plan`) or prints; SLURM jobs do the same work by the same functions.
The names that other packages use:

- `local.run_plan`, `local.drive`, `local.RunOutcome`: a plan on so many workers;
- `gpus.find_gpus`, `devices.Devices`: the GPUs of this machine, and how artifacts are laid on them;
- `schedule.wall_hours`: the hours that a plan takes of these;
- `work_order.make_order`, `work_order.WorkOrder`, `work_order.training_job`: an artifact's work as plain data;
- `stages.perform`, `stages.perform_claimed`: carrying an order out, here;
- `worker.output_to`: a process's output into a log.

They are imported from these modules: a face that did so would load them all for every command.
"""
