#!/bin/sh
# addNodeToLB.sh LB: adds the nodes in the file addNode
. "$(dirname "$0")/request.sh"
need "LB" "$@"
file=$(body addNode) || exit
request POST "/$tenant/loadbalancers/$1/nodes" "$file"
