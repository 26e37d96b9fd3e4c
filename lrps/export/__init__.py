"""Released models: a saved state as a Hugging Face directory with tokenizer and model card."""
