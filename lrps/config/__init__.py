"""Floor 0: what a user writes. Imports nothing of lrps but its errors, and no torch."""
