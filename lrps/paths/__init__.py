"""Floor 0: schedules, paths and the graph that a paradigm compiles to. Imports no torch and no numpy."""
