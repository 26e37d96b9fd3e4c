"""Floor 1: what was really spent. Append-only files, one a path and attempt; imports no torch."""
