"""Progress on the terminal, and trackers: copies of a path's metrics in other tools."""
