"""The demo: its text, and the losses that it is expected to have (`lrps demo`)."""
