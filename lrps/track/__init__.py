"""Floor 2: metrics. A local append-only file first; the terminal and dashboards are copies."""
