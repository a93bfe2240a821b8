#!/bin/sh
# createLB.sh NAME: creates the load balancer in the file createLBcommandNAME, e.g. createLB.sh HAProxy. It goes to
# the device $DEVICE_ID, by default the first one that listDevice.sh shows.
. "$(dirname "$0")/request.sh"
need "NAME" "$@"
file=$(body "createLBcommand$1") || exit
if [ -z "${DEVICE_ID:-}" ]; then
    devices=$(request GET /devices) || exit
    DEVICE_ID=$(printf '%s\n' "$devices" | grep -o '"id": *"[^"]*"' | head -n 1 | cut -d'"' -f4)
fi
case $DEVICE_ID in
    '') echo "createLB.sh: no device is registered. First: createDevice.sh HAProxy" >&2; exit 1 ;;
    *[!0-9A-Fa-f-]*) echo "createLB.sh: DEVICE_ID is not an id: $DEVICE_ID" >&2; exit 2 ;;
esac
sed "s/\"DEVICE_ID\"/\"$DEVICE_ID\"/" "$file" | request POST "/$tenant/loadbalancers" -
