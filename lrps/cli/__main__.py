"""`python -m lrps.cli`: what launchers start, with the interpreter that runs them."""

from lrps.cli.app import main

main()
