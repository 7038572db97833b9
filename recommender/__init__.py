"""The recommender: turns the GPU usage of workloads into histograms, estimates and recommendations."""
