"""Copies of a run in another directory or object store."""
