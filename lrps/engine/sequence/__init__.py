"""Sequence parallelism: several ranks share rows, of which each takes a part of the tokens."""
