#!/bin/sh
# deleteNode.sh LB NODE: removes a node
. "$(dirname "$0")/request.sh"
need "LB NODE" "$@"
request DELETE "/$tenant/loadbalancers/$1/nodes/$2"
