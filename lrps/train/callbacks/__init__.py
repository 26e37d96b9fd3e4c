"""Callbacks of the training loop: code of plug-ins that is called at every step, log, save and evaluation."""
