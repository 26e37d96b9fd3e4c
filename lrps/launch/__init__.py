"""Starts the training processes for what is missing, here or on other hosts, and says how it ended."""
