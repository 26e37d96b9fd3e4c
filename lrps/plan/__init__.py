"""The compiled plan of a config, and the status of its run directory."""
