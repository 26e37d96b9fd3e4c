"""Held-out losses of main paths over their steps, beside those of the versions that branch from them."""
