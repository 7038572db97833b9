"""Usage of GPUs as the metric source tells it, read in bulk."""
