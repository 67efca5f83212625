"""Finished runs and studies, opened from disk."""
