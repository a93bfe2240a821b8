#!/bin/sh
# listProbes.sh LB: its health monitors
. "$(dirname "$0")/request.sh"
need "LB" "$@"
request GET "/$tenant/loadbalancers/$1/healthMonitoring"
