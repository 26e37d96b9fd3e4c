"""The command line, `lrps VERB`."""

from lrps.cli.app import app, main

__all__ = ["app", "main"]
