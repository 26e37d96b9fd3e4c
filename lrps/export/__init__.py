"""Export of a saved state as a Hugging Face directory with weights, tokenizer and model card."""
