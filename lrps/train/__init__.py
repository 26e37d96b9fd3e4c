"""Training: one loop for all paths, which does not depend on their paradigms."""
