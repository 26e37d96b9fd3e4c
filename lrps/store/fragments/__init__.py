"""Where the values of a saved state are in its files: the index of a checkpoint, in both formats. Imports no torch."""
