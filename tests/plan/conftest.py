"""Fixtures of a measured run, shared by the tests of plans."""

from support.measured_run import formulas, make

__all__ = ["formulas", "make"]
