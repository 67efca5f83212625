"""Read finished runs and studies from disk."""
