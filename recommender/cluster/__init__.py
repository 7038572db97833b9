"""What the recommender knows of the cluster: pods, their owners, cards, and what has changed."""
