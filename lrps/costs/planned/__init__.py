"""Costs of a plan before it is trained: steps, FLOPs, devices, memory, saves."""
