"""The training paradigms, one module each, compiled to one graph of paths."""
