"""Simulate whole studies with the project's own decisions, in declared cells: `python -m tests.simulation`."""
