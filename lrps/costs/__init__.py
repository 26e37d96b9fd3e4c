"""Typed documents of what a plan costs: planned, measured in ledgers, and modelled from measurements."""
