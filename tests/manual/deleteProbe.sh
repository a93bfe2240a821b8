#!/bin/sh
# deleteProbe.sh LB PROBE: removes a health monitor
. "$(dirname "$0")/request.sh"
need "LB PROBE" "$@"
request DELETE "/$tenant/loadbalancers/$1/healthMonitoring/$2"
