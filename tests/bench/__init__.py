"""Benchmarks: how near the service comes to what cannot be avoided. Run with tests/bench/run.sh."""
