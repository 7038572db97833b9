"""The recommender: turns GPU usage into decaying histograms, estimates and recommendations for each workload."""
