"""Read-only observers of a training run: when they look, what they measure, and where it goes."""
