"""lrps: pretraining of LLM version updates by learning-rate path switching.

Importing this package imports nothing else; each verb of the command line loads what it needs.
"""

__version__ = "0.1.0"
