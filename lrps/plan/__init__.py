"""The compiled plan of a config, and where its run directory stands."""
