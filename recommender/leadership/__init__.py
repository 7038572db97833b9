"""Which replica of the recommender works, and on which workloads."""
