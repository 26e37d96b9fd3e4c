"""Learning-rate schedules, training paths and the graph that paradigms compile to. Imports no torch and no numpy."""
