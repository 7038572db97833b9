"""From what usage says to what a workload shall request and what its status tells."""
