"""The published test suite of the Octavia API against this service: ``tests/conformance/run.sh``."""
