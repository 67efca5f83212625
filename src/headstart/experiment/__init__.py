"""A study: preflight, planning, learning-rate search, runs and the best model."""
