"""Copies of runs to and from directories and object stores."""
