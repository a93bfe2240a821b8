# shellcheck shell=sh
# Sourced by run_tests.sh and bin/balancer-devbox (POSIX sh). Debian packages: which are missing, and installing
# them so that no service is started or left enabled that was not there before.

POLICY_RC_D=/usr/sbin/policy-rc.d
POLICY_RC_D_SAVED=$POLICY_RC_D.before-balancer
POLICY_RC_D_MARK='placed by balancer for the time of a package installation'

# missing_packages PACKAGE...: prints those that are not installed, on one line.
missing_packages() {
    packages_missing=
    for package in "$@"; do
        case "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" in
            installed) ;;
            *) packages_missing="$packages_missing $package" ;;
        esac
    done
    echo "${packages_missing# }"
}

# install_packages PACKAGE...: installs what is missing (root), or says which command would (others).
# 0 when all are there afterwards. apt's progress goes to standard error.
install_packages() {
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        echo "No apt on this system, so it is up to you that these are there: $*" >&2
        return 0
    fi
    packages_missing=$(missing_packages "$@")
    [ -n "$packages_missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "Missing Debian packages: $packages_missing. As root:" >&2
        echo "    apt-get update && apt-get install --no-install-recommends $packages_missing" >&2
        return 1
    fi
    echo "Installing Debian packages: $packages_missing" >&2
    # In a subshell, so that its traps are its own. Word splitting is wanted.
    # shellcheck disable=SC2086
    (run_apt $packages_missing) >&2 || return 1
    packages_missing=$(missing_packages "$@")
    [ -z "$packages_missing" ] || { echo "Still missing: $packages_missing" >&2; return 1; }
}

run_apt() {
    services_before=$(service_names)
    forbid_service_starts || return 1
    trap restore_service_starts EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    export DEBIAN_FRONTEND=noninteractive
    # The lists may be missing (fresh images) or too old: the second try has fresh ones.
    apt-get install -y --no-install-recommends "$@" </dev/null ||
        { apt-get update </dev/null && apt-get install -y --no-install-recommends "$@" </dev/null; } || exit 1
    disable_new_services "$services_before"
}

# policy-rc.d is what Debian's maintainer scripts ask before they start a service; 101 means "do not".
forbid_service_starts() {
    if [ -e "$POLICY_RC_D" ] && ! grep -qF "$POLICY_RC_D_MARK" "$POLICY_RC_D"; then
        mv "$POLICY_RC_D" "$POLICY_RC_D_SAVED" || return 1
    fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_RC_D_MARK" >"$POLICY_RC_D" && chmod 755 "$POLICY_RC_D"
}

restore_service_starts() {
    rm -f "$POLICY_RC_D"
    [ ! -e "$POLICY_RC_D_SAVED" ] || mv "$POLICY_RC_D_SAVED" "$POLICY_RC_D"
}

# Names of all services and sockets known to systemd or to System V's init, one on a line.
service_names() {
    for service_dir in /lib/systemd/system /usr/lib/systemd/system; do
        find "$service_dir" -maxdepth 1 \( -name '*.service' -o -name '*.socket' -o -name '*.timer' \) 2>/dev/null |
            sed 's|.*/||'
    done | sort -u
    find /etc/init.d -maxdepth 1 -type f 2>/dev/null | sed 's|.*/||' | sort -u
}

# disable_new_services NAMES-BEFORE: what a package enabled for the next boot is switched off again; on a running
# systemd it is also stopped.
disable_new_services() {
    for service in $(service_names); do
        printf '%s\n' "$1" | grep -qxF "$service" && continue
        case "$service" in
            *@.*) ;;
            *.service | *.socket | *.timer)
                command -v systemctl >/dev/null 2>&1 || continue
                [ "$(systemctl is-enabled "$service" 2>/dev/null)" = enabled ] || continue
                if [ -d /run/systemd/system ]; then
                    systemctl disable --now "$service" || return 1
                else
                    systemctl disable "$service" || return 1
                fi
                ;;
            *)
                command -v update-rc.d >/dev/null 2>&1 && update-rc.d "$service" disable
                ;;
        esac
    done
    return 0
}
