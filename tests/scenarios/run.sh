#!/bin/sh
# Runs the scenarios several times in a row; ends with the first pass that is not green.
# Usage: tests/scenarios/run.sh [PASSES]        (default: 3)
# They are alone here, so they get no more time than is promised.
set -u
cd "$(dirname "$0")/../.." || exit 1
passes=${1:-3}
case $passes in '' | *[!0-9]*) echo "Usage: $0 [PASSES]" >&2; exit 2 ;; esac
export BALANCER_SCENARIO_SLACK=0
pass=1
while [ "$pass" -le "$passes" ]; do
    echo "=== pass $pass of $passes"
    ./run_tests.sh tests/scenarios || exit
    pass=$((pass + 1))
done
