"""Decaying histograms of many workloads in one array, and what they are made of."""
