#!/bin/sh
# deleteLB.sh LB: deletes a load balancer with its children
. "$(dirname "$0")/request.sh"
need "LB" "$@"
request DELETE "/$tenant/loadbalancers/$1"
