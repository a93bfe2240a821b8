#!/bin/sh
# createDevice.sh NAME: registers the device in the file createDeviceNAME, e.g. createDevice.sh HAProxy
. "$(dirname "$0")/request.sh"
need "NAME" "$@"
file=$(body "createDevice$1") || exit
request POST /devices "$file"
