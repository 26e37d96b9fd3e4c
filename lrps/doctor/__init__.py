"""`lrps doctor`: finds what is wrong with this machine, a config or its nodes before training starts."""
