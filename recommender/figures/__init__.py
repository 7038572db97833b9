"""What /metrics shows of each workload."""
