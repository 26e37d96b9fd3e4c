"""Settings of DeepSpeed that a config may pass through, and the reasons why all others are refused."""
