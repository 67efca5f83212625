"""Metrics of classifiers: a registry, and functions of confusion counts or of logits (no torch)."""
