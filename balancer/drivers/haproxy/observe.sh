# Looks at a host and changes nothing. Run as the login user; POSIX shell, GNU or busybox tools.
# $1 path of haproxy.cfg, $2 path of the stats socket
# Prints "balancer-observe 1", then lines "KEY WORDS…"; what may hold any byte is in base64.
umask 077
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

encoded() { base64 | tr -d '\n'; }

echo 'balancer-observe 1'
echo "uid $(id -u)"
read -r hostname </proc/sys/kernel/hostname
echo "hostname $hostname"
# `command -v` names a builtin without its path; the first one found is the one that counts.
IFS=:
for directory in $PATH; do
    unset IFS
    for tool in cat cp mv rm tee kill sudo systemctl haproxy flock timeout ip ping base64 sha256sum; do
        [ -x "$directory/$tool" ] && [ ! -d "$directory/$tool" ] && echo "tool $tool $directory/$tool"
    done
done

path=$(readlink -f "$1") || path=$1
directory=${path%/*}
previous=$directory/.${path##*/}.balancer-old
echo "path $path"
[ -d "$directory" ] && echo 'directory exists'
[ -r "$directory" ] && echo 'directory readable'
[ -w "$directory" ] && [ -x "$directory" ] && echo 'directory writable'
[ -d "${2%/*}" ] && echo 'socket-directory exists'
[ -e "$previous" ] && echo 'previous exists'
for kind in new note; do
    [ -e "$directory/.${path##*/}.balancer-$kind" ] && echo "leftover $kind"
done
if [ -f "$path" ]; then
    echo "mode $(stat -c '%u %g %a' "$path")"
    if [ -r "$path" ]; then
        echo "config $(encoded <"$path")"
    else
        echo "sudo-config $(sudo -n cat "$path" 2>/dev/null </dev/null | encoded)"
    fi
fi
[ -f "$path.balancer-ping" ] && [ -x "$path.balancer-ping" ] && echo 'ping-command exists'
[ -f "$path.balancer-states" ] && echo 'states exists'
{ read -r first last </proc/sys/net/ipv4/ping_group_range; } 2>/dev/null && echo "ping-groups $first $last"
[ -e "$path.balancer" ] && echo "sidecar $(encoded <"$path.balancer")"

# A process of a container is no haproxy of this host: it has one process number more than we have.
namespaces() {
    while read -r key words; do
        # shellcheck disable=SC2086 # a list of words
        [ "$key" = NSpid: ] && set -- $words && echo $# && return
    done <"$1/status"
}
own=$(namespaces /proc/self)
given=${1%/*}
set --
for process in /proc/[0-9]*; do
    { read -r comm <"$process/comm"; } 2>/dev/null || continue
    case $comm in haproxy*) set -- "$@" "$process/cmdline" ;; esac
done
# A host may have many with other configurations, and each that is looked at closer costs ten processes of our own.
# shellcheck disable=SC2046 # a list of files
[ $# -eq 0 ] || set -- $(grep -lF -e "$directory" -e "$given" "$@" 2>/dev/null)
for process in "$@"; do
    process=${process%/cmdline}
    [ "$(namespaces "$process" 2>/dev/null)" = "$own" ] || continue
    state='' parent='' owner=''
    while read -r key value _; do
        case $key in State:) state=$value ;; PPid:) parent=$value ;; Uid:) owner=$value ;; esac
    done 2>/dev/null <"$process/status"
    [ "$state" != Z ] || continue
    # Not the unit of a shell or of a cron job that started it by hand.
    unit=$(sed -n 's,.*/\([A-Za-z0-9@_.-]*haproxy[A-Za-z0-9@_.-]*\.service\)$,\1,p' "$process/cgroup" 2>/dev/null | head -n 1)
    echo "process ${process#/proc/} $parent $owner ${unit:--} $(encoded 2>/dev/null <"$process/cmdline")"
    # The master's own socket, as far as this user may use it.
    master=$(tr '\0' '\n' 2>/dev/null <"$process/cmdline" | sed -n '/^-S$/{n;s/,.*//;p;}' | head -n 1)
    [ -S "$master" ] && [ -w "$master" ] && echo "master-socket ${process#/proc/} $(printf %s "$master" | encoded)"
done

for unit in /etc /run /usr/local/lib /usr/lib /lib; do
    [ -d /run/systemd/system ] && [ -e "$unit/systemd/system/haproxy.service" ] && echo 'unit haproxy.service' && break
done
command -v haproxy >/dev/null && echo "version $(haproxy -v 2>/dev/null | head -n 1 | encoded)"

# Lines LISTEN; without ss what the kernel shows, which takes long where there are many connections.
ss -Hltn 2>/dev/null ||
    sed -n 's/^ *[0-9]*: \([0-9A-F]*:[0-9A-F]*\) [0-9A-F:]* 0A .*/listening \1/p' /proc/net/tcp /proc/net/tcp6 2>/dev/null
command -v ip >/dev/null && echo "addresses $(ip -o addr show 2>/dev/null | encoded)"
echo 'end 0'
