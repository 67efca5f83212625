"""Audit of a data set before training (no torch)."""
