"""The lifecycle of one run, jobs, and the reuse of finished runs."""
