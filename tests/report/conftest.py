"""Fixtures of a measured run, shared by the tests of costs and of the report."""

from support.measured_run import formulas, make, rehearsing, trained

__all__ = ["formulas", "make", "rehearsing", "trained"]
