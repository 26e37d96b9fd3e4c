"""Averages of weights: a moving average beside training, and means of saved states."""
