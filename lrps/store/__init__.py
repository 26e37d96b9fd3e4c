"""What lies on disk: the run directory, complete checkpoints, pinned branch points. Imports no torch."""
