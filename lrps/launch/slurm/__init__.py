"""Launcher `slurm`: every unfinished path as a batch job that can be read and edited.

The jobs of a run are recognised by their comment.
"""
