"""Studies on a SLURM cluster: what to send, what became of it, and a job's side (`job_main`).

It knows nothing of how an artifact is made (`pdstudy.launch`), and prints nothing; all that commands import is free of
torch and submitit. Other packages use `commands`, `cluster_status`, `gc`, `cost` and `ledger`.
"""
