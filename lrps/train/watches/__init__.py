"""Watches over training: its budget, its spikes, and the forecast of its branch."""
