"""The index of a checkpoint: the places of a state's values in its files, in both formats. Imports no torch."""
