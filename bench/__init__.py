"""Benchmarks against peers, on the real embedded stack: ``make bench``. See ``docs/benchmarks.md``."""
