"""Tables of the report, one file each: costs of paradigms, versions, tasks, forgetting, status of paths."""
