"""Health checks on the records of a run (no torch)."""
