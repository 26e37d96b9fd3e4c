"""A graph of paths as Slurm jobs: each a batch script that can be read and edited, one a path as a rule.

Imports no torch. What is submitted, shown and cancelled is found again by the jobs' comments.
"""
