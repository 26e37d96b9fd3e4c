"""Floor 2: proves from a run directory alone that no row was used twice or left out. Imports no torch."""
