"""Benchmarks: each prints a table of ours, its peers and the limit, measured in one run."""
