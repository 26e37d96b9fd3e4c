"""The command line as a module: `python -m lrps VERB`, the same as `lrps VERB`."""

from lrps.cli.entry import main

main()
