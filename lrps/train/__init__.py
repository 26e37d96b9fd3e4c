"""Floor 3: the one trainer. It knows paths, not paradigms."""
