"""What is remembered of every workload's usage, and what that says."""
