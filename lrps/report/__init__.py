"""Plans and results as something to look at: tables, JSON, one HTML page. Imports no torch."""
