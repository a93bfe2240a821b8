#!/bin/sh
# listLB.sh: every load balancer, without children
. "$(dirname "$0")/request.sh"
need "" "$@"
request GET "/$tenant/loadbalancers"
