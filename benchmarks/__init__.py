"""headstart beside a stock loop: ratios on one machine in one run. See `python -m benchmarks --help`."""
