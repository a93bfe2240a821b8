#!/bin/sh
# getLBNodes.sh LB: its nodes
. "$(dirname "$0")/request.sh"
need "LB" "$@"
request GET "/$tenant/loadbalancers/$1/nodes"
