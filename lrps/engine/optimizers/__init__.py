"""Optimizers under DeepSpeed: how each kind is made, and where its states are in a running engine."""
