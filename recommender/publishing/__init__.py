"""What the recommender writes to the cluster."""
