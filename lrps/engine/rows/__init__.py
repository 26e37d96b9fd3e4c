"""Rows of token ids on their way into a model: packed documents, their masks, and copies on the device."""
