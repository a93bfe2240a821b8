"""The nose2 plugin behind run_tests.sh."""
