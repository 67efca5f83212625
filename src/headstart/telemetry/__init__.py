"""Read-only observers of a training run: when they measure, what they measure, and where the results are written."""
