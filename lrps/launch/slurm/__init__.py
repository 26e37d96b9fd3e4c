"""Batch jobs of Slurm: one per unfinished path, from a script that users can read and edit.

The jobs of a run are recognised by their comment.
"""
