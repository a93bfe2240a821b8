#!/bin/sh
# getLBDetails.sh LB: a load balancer with its children
. "$(dirname "$0")/request.sh"
need "LB" "$@"
request GET "/$tenant/loadbalancers/$1/details"
