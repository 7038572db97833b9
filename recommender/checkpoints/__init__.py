"""Saved histories: what outlives a restart, and how it is written, stored and found again."""
