"""Answers to a budget owner's questions: costs at one speed, what machines add to them, and closed formulas."""
