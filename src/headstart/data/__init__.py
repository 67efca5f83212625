"""Labelled images: sources, splits, pixels and batches."""
