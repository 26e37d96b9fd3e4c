"""Building a model unit by unit, so that a process has at most one unit of it in host memory and never the whole."""
