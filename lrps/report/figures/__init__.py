"""The figures of the comparison report, one module each."""
