"""Setup of DeepSpeed's engine: the config that it gets, and what lrps adds to its steps."""
