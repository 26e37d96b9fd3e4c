"""Start of the training processes of unfinished paths, on this machine, on other hosts or as Slurm jobs."""
