#!/bin/sh
# listDevice.sh: every registered device
. "$(dirname "$0")/request.sh"
need "" "$@"
request GET /devices
