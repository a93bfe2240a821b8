#!/bin/sh
# Runs the published test suite of the Octavia API against this service, with a Keystone beside it and devices in memory.
# Not part of run_tests.sh: it is a long run, and of somebody else's tests.
# Usage: tests/conformance/run.sh [--roles SCHEME] [--keep DIRECTORY] [MODULE|TEST]...     (see --help)
set -u
cd "$(dirname "$0")/../.." || exit 1
. tools/venv.sh
make_venv .venv || exit 1
# The suite's own: it and what it needs would otherwise decide what this service is tested with.
make_venv .venv-conformance conformance || exit 1
exec .venv/bin/python -m tests.conformance --suite-python .venv-conformance/bin/python "$@"
