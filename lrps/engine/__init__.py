"""Execution of training steps: Hugging Face models under DeepSpeed, and the state in checkpoints."""
