#!/bin/sh
# updateLB.sh LB: changes what the file updateLB says
. "$(dirname "$0")/request.sh"
need "LB" "$@"
file=$(body updateLB) || exit
request PUT "/$tenant/loadbalancers/$1" "$file"
