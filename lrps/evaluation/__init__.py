"""Tasks that released models are scored on after training: instruction pairs by ROUGE-L, and lm-eval's tasks."""
