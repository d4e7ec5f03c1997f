"""What docs/benchmarks.md reports: `make bench`, or `python -m benchmarks [names...]`."""
