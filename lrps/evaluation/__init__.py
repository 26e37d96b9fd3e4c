"""Scoring of released models after training: instruction pairs by ROUGE-L, and the tasks of lm-eval."""
