"""`lrps doctor`: what is wrong with this machine, or with what a config wants of it, before anything is started."""
