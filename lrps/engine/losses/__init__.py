"""The loss of a model from its hidden states: fused with the output head, by chunk, and on held-out rows."""
