"""The lifecycle of one run, and jobs."""
