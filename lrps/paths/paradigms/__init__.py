"""Training paradigms, one module each: functions that compile a strategy of the config to paths."""
