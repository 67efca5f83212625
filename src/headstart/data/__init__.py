"""Labeled images: sources, splits, pixels and batches."""
