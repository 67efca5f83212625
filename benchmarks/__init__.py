"""Benchmarks of headstart against a stock training loop, on one machine. See `python -m benchmarks --help`."""
