#!/bin/sh
# addProbeToLB.sh LB: adds the health monitor in the file addProbe
. "$(dirname "$0")/request.sh"
need "LB" "$@"
file=$(body addProbe) || exit
request POST "/$tenant/loadbalancers/$1/healthMonitoring" "$file"
