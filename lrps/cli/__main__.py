"""`python -m lrps.cli`: what launchers start, with the interpreter that runs them."""

from lrps.cli.entry import main

main()
