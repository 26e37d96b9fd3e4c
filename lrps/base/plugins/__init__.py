"""Plug-ins: choices of a config that are added from outside of lrps, by registration or by an entry point."""
