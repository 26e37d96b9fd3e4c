"""The Python API: what the command line does, as functions that return values. `lrps` exports it lazily."""
