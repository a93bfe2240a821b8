#!/bin/sh
# changeNodeStatus.sh LB NODE STATUS: inservice, outofservice, drain, suspend or standby
. "$(dirname "$0")/request.sh"
need "LB NODE STATUS" "$@"
request PUT "/$tenant/loadbalancers/$1/nodes/$2/$3"
