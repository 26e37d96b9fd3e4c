"""Ledgers: the measured cost of paths in append-only files, one per attempt. Imports no torch."""
