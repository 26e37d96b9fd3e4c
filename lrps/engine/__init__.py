"""Execution of a training step: Hugging Face models under DeepSpeed, and the state that checkpoints hold."""
