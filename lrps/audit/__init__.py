"""Audit of a run: the proof, from its directory alone, that no row was used twice or left out. Imports no torch."""
