#!/bin/sh
# Measures the service against its floors and prints a table. Needs root (devices in namespaces of their own).
# Usage: tests/bench/run.sh [--quick] [--json FILE] [ROW]...        (rows: a b c d e; default: all)
set -u
cd "$(dirname "$0")/../.." || exit 1
. tools/packages.sh
. tools/venv.sh
install_packages haproxy openssh-server sudo lighttpd iproute2 procps python3-venv || exit 1
# A checkout that shares another's virtualenv has it already.
[ -x .venv/bin/python ] || make_venv .venv || exit 1
PYTHONPATH=$PWD exec .venv/bin/python -m tests.bench "$@"
