"""Studies on a SLURM cluster. Everything that the commands import is free of torch; a job's side is `entry`."""
