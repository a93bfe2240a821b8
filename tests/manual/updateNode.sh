#!/bin/sh
# updateNode.sh LB NODE: changes what the file updateNode says
. "$(dirname "$0")/request.sh"
need "LB NODE" "$@"
file=$(body updateNode) || exit
request PUT "/$tenant/loadbalancers/$1/nodes/$2" "$file"
