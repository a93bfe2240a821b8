#!/bin/sh
# Builds the documentation into doc/html; warnings are errors. Open doc/html/index.html.
# Arguments go to sphinx-build.
set -eu
cd "$(dirname "$0")/.."
. tools/venv.sh
make_venv .venv
exec .venv/bin/python -m sphinx -W --keep-going -q -b html "$@" doc/source doc/html
