"""The command line, `lrps VERB`."""

from lrps.cli.app import app
from lrps.cli.entry import main

__all__ = ["app", "main"]
