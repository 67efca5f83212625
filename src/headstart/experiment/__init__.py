"""Run studies: preflight, planning, learning-rate search, runs and the best model."""
