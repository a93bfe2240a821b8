# Puts a new configuration into service, or nothing of it. Run as the login user under `timeout`; POSIX shell, GNU or
# busybox tools. What precedes this text says what stays the same from one deployment to the next:
#   a function do_STEP for every single command that may need more rights (always called in a shell of its own),
#   config, given   the real path of haproxy.cfg, and the one that the device is registered with
#   socket          the path of the stats socket
#   device          the device id
#   operand         what haproxy has after -f
#   keep            yes or no: take owner and mode from the old file
#   direct          yes or no: the login user writes beside haproxy.cfg without sudo
# The order's words: $1 epoch  $2 check, live, reload, start, stop or none: what to do with haproxy
# $3 yes or no: ask haproxy -c   $4 yes or no: say what a glance at the host shows
# $5 bytes on standard input, 0 when no address changes: functions do_add, do_remove and do_announce, calls of `attempt`
# and `announce`   $6 bytes of the new file behind them, "-" to leave it as it is   $7 bytes of the new sidecar behind it
# $8 a device id whose sidecar may be replaced: it has nothing here any more   $9 yes or no: the check may be a quick one
# $10, $11 how many bytes at the beginning and at the end of the new file are those of the present one, and are not sent
#
# Standard output: lines about what is there, then one "WORD base64". After "accepted" nothing has changed yet, and
# "go BYTES PIDS" is waited for: of the server state file that follows (0 to leave it as it is), and the processes that
# were there. Then "installed", and answers to what is read: "pids", "again" (reload once more), "commit BYTES" (of the
# sidecar once addresses were removed); anything else or the end of the input rolls back. Addresses that could not be
# changed do not keep the rest from being done: a line "addresses base64" comes before the one it belongs to.
umask 022
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

epoch=$1 action=$2 ask=$3 look=$4 moves=$5 bytes=$6 note=$7 heir_of=$8 quickly=$9 first=${10} last=${11}
directory=${config%/*}
beside=$directory/.${config##*/}.balancer
staged=$beside-new
previous=$beside-old
state=untouched
handed=no
# Whether the previous file is there as a part of this deployment only.
backed=no
# Whether the sidecar is the new one, and what the one before says of the block.
recorded=no
was='"digest": "",'
aside=''
# What runs beside has no standard input but this.
exec 3<&0
[ "$moves" = 0 ] || eval "$(head -c "$moves")"

reply() {
    if [ -n "$2" ]; then echo "$1 $(printf %s "$2" | base64 | tr -d '\n')"; else echo "$1 "; fi
}

# Runs one step without our input and our lock; standard error is kept in $said.
step() { said=$("do_$1" 2>&1 >/dev/null </dev/null 3<&- 4<&- 9<&-); }
must() { step "$1" || { reply "failed-$1" "$said"; exit 1; }; }

# Runs a command about one address, named by $1; says why it failed, unless what it was to do is done already.
attempt() {
    what=$1
    shift
    said=$("$@" 2>&1 >/dev/null </dev/null 9<&-) && return
    case $said in *'File exists'* | *'ddress already assigned'*) return ;; esac
    case $said in *'Cannot assign requested address'* | *'ddress not found'*) return ;; esac
    echo "$what: $said" | tr '\n' ' '
    echo
}

# Tells the network that the address $2 is here now: asking aloud for another address in its name makes everybody who
# remembers it elsewhere take note. What follows are such addresses; one that this host knows would not be asked for aloud.
announce() {
    ping=$1 address=$2
    shift 2
    for other; do
        grep -q "^$other .* 0x2 " /proc/net/arp 2>/dev/null && continue
        "$ping" -c 1 -W 1 -I "$address" "$other" >/dev/null 2>&1 </dev/null 9<&- &
        return
    done
}

# The numbers of those with the operand among their arguments, a blank behind each.
haproxies() {
    set --
    for process in /proc/[0-9]*; do
        { read -r comm <"$process/comm"; } 2>/dev/null || continue
        case $comm in haproxy*) set -- "$@" "$process/cmdline" ;; esac
    done
    [ $# -gt 0 ] || return 0
    for process in $(grep -lzxF -e "$operand" "$@" 2>/dev/null); do
        process=${process#/proc/}
        printf '%s ' "${process%/cmdline}"
    done
}

# Writes $3 bytes of standard input to the file $2, by the step $1 where more rights are needed. Says why it failed.
take() {
    if [ "$direct" = yes ]; then
        { head -c "$3" >"$2"; } 2>&1
    else
        head -c "$3" | "do_$1" 2>&1 >/dev/null
    fi
}

# The new file. Whether it is what it was to be is told by its sum.
new_file() {
    { [ "$first" = 0 ] || head -c "$first" "$config"; } && head -c "$bytes" &&
        { [ "$last" = 0 ] || tail -c "$last" "$config"; }
}

# As sha256sum prints it: of the file that is there, the new one, and the sidecar.
sums() {
    set -- "$config"
    [ "$bytes" = - ] || set -- "$1" "$staged"
    for each; do [ -r "$each" ] || set -- by-sudo; done
    if [ "$1" = by-sudo ]; then
        sum=$(do_read 2>/dev/null </dev/null | sha256sum) && echo "${sum%% *}  $config"
        [ "$bytes" = - ] || { sum=$(do_read_staged 2>/dev/null </dev/null | sha256sum) && echo "${sum%% *}  $staged"; }
        set --
    fi
    sha256sum "$@" "$config.balancer" 2>/dev/null
}

# What changes by itself on a host that was looked at before: who listens, which addresses there are.
glance() {
    stat -L -c 'mode %u %g %a %d:%i' "$config" "$given"
    [ -r "$directory" ] && echo 'directory readable'
    [ -w "$directory" ] && [ -x "$directory" ] && echo 'directory writable'
    [ -d "${socket%/*}" ] && echo 'socket-directory exists'
    [ -f "$config.balancer-ping" ] && [ -x "$config.balancer-ping" ] && echo 'ping-command exists'
    { read -r first last </proc/sys/net/ipv4/ping_group_range; } 2>/dev/null && echo "ping-groups $first $last"
    # Lines LISTEN; without ss what the kernel shows, which takes long where there are many connections.
    ss -Hltn 2>/dev/null ||
        sed -n 's/^ *[0-9]*: \([0-9A-F]*:[0-9A-F]*\) [0-9A-F:]* 0A .*/listening \1/p' /proc/net/tcp /proc/net/tcp6 2>/dev/null
    # Each of its lines begins with a number.
    command -v ip >/dev/null && ip -o addr show 2>/dev/null
    :
}

# All that needs not wait for haproxy, which takes its time to check.
beside_the_check() {
    if [ "$note" != 0 ]; then said=$(take note "$beside-note" "$note") || { reply failed-note "$said"; return 1; }; fi
    [ "$backed" = no ] || step backup || { reply failed-backup "$said"; return 1; }
    sums
    [ "$look" = no ] || glance
    echo "before $(haproxies)"
}

# Waits until a process serves that was not there before; $1 are those that were, $2 tenths of a second at most.
newcomer() {
    turns=0
    while [ "$turns" -lt "$2" ]; do
        for pid in $(haproxies); do
            case " $1 " in *" $pid "*) ;; *) return 0 ;; esac
        done
        sleep 0.1
        turns=$((turns + 1))
    done
    return 1
}

# The sidecar says of the block what it said before. What else is new in it stays: an epoch, addresses to be removed.
unrecord() {
    [ "$recorded" = yes ] || return 0
    while IFS= read -r line; do
        case $line in *'"digest": '*) line=" $was" ;; esac
        printf '%s\n' "$line"
    done <"$config.balancer" | take note "$beside-note" 1000000 >/dev/null 9<&- && step record
}

roll_back() {
    # A reload that follows another too closely is lost.
    [ "$action" != reload ] || newcomer "$before" 10
    if step restore; then
        # What was not seen serving, before or again, is not said to have been.
        known=$backed
        case $action in
            # A master that is still busy with the reload before does not hear this one: then once more.
            reload)
                before=$(haproxies) known=no
                for turn in 1 2 3; do step reload && newcomer "$before" 10 && known=$backed && break; done
                ;;
            start) [ -z "$(haproxies)" ] || step stop ;;
        esac
        [ "$known" = yes ] || was='"digest": "unknown",'
        unrecord
        reply rolled-back ''
        step clean
    else
        # The previous file stays beside the new one.
        reply failed-restore "$said"
    fi
}

# What one worker hands to the next is stale at any later start.
forget_states() {
    [ "$handed" = no ] || printf '1\n' | take states "$config.balancer-states" 2 >/dev/null
    handed=no
}

finish() {
    trap '' HUP INT TERM
    trap - EXIT
    [ -z "$aside" ] || wait "$aside"
    case $state in
        # A previous file that was there already is the mark of a deployment that nobody verified.
        staged)
            unrecord
            if [ "$backed" = yes ]; then step clean; else step discard; fi
            ;;
        installed) roll_back ;;
    esac
    forget_states
    exit
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
# The other end may be gone while we still have to clean up.
trap '' PIPE

[ -r "$directory" ] || { reply failed-lock "$directory is not readable"; exit 1; }
exec 9<"$directory"
turns=0
until flock -n 9; do
    turns=$((turns + 1))
    [ "$turns" -lt 30 ] || { reply busy ''; exit 1; }
    sleep 0.1
done

if [ -e "$config.balancer" ]; then
    [ -r "$config.balancer" ] || { reply failed-lock "$config.balancer is not readable"; exit 1; }
    owner='' newest='' told=''
    while [ -z "$told" ] && read -r line; do
        case $line in
            '"device_id": "'*) owner=${line#*: \"} && owner=${owner%%[!0-9a-f]*} ;;
            '"epoch": '*) newest=${line#*: } && newest=${newest%%[!0-9]*} ;;
            '"digest": '*) told=$line was=$line ;;
        esac
    done <"$config.balancer"
    case $owner in
        "$device") [ "${newest:-0}" -le "$epoch" ] || { reply stale "$newest"; exit 1; } ;;
        '' | "$heir_of") ;;
        *) reply foreign "$owner"; exit 1 ;;
    esac
fi

state=staged
# As long as it is held open, no other file can be taken for it.
[ ! -r "$config" ] || exec 4<"$config"
if [ "$bytes" != - ]; then
    [ "$keep" = no ] || must copy
    if [ "$direct" = yes ]; then
        said=$({ new_file >"$staged"; } 2>&1 9<&-)
    else
        said=$(new_file | do_write 2>&1 >/dev/null 9<&-)
    fi || { reply failed-write "$said"; exit 1; }
    case $action in check | live) ;; *) [ -e "$previous" ] || backed=yes ;; esac
fi
[ "$look" = no ] || [ ! -e "$previous" ] || [ "$backed" = yes ] || echo 'previous exists'
beside_the_check <&3 9<&- &
aside=$!
answer=0
[ "$ask" = yes ] && [ -r "$staged" ] || quickly=no
if [ "$quickly" = yes ]; then
    # At its start haproxy reads the certificates of all authorities, for a client that nothing in this file uses. That
    # takes three times as long as all the rest.
    said=$(
        do_check_quickly 2>&1 3<&- 4<&- 9<&- <<'FIRST'
global
    httpclient.ssl.verify none
FIRST
    ) || quickly=no
fi
if [ "$ask$quickly" = yesno ]; then
    said=$(do_check 2>&1 </dev/null 3<&- 4<&- 9<&-)
    answer=$?
fi
wait "$aside" || exit 1
aside=''
case $answer in
    0) ;;
    # No program, or none that may be run.
    126 | 127) reply failed-check "$said"; exit 1 ;;
    *) reply rejected "$said"; exit 1 ;;
esac
reply accepted ''
[ "$action" != check ] || exit 0

read -r verdict states before && [ "$verdict" = go ] || exit 1
# Somebody was faster: has written to it, or put another one, of whatever age, in its place.
if [ "$bytes" != - ]; then
    [ ! "$config" -nt "$staged" ] || { reply changed ''; exit 1; }
    [ ! -e /proc/self/fd/4 ] || [ "$config" -ef /proc/self/fd/4 ] || { reply changed ''; exit 1; }
fi
if [ "$action" = live ]; then
    # It runs already.
    must record
    recorded=yes
    must install
    state=committed
    reply committed ''
    exit 0
fi
if [ "$moves" != 0 ]; then
    # An address that was added must be known to be ours.
    must record
    recorded=yes
    said=$(do_add)
    [ -z "$said" ] || reply addresses "$said"
fi
if [ "$states" != 0 ]; then
    handed=yes
    said=$(take states "$config.balancer-states" "$states" 9<&-) || { reply failed-states "$said"; exit 1; }
fi
if [ "$bytes" != - ]; then
    [ "$backed" = yes ] || must backup
    state=installed
    must install
fi
case $action in reload | start | stop) must "$action" ;; esac
reply installed ''
# While haproxy gets ready. The previous file is there, so until the commit nobody takes the new one for verified.
[ "$moves" != 0 ] || must record
recorded=yes

while read -r verdict after; do
    case $verdict in
        pids) echo "pids $(haproxies)" ;;
        again) step reload ;;
        commit)
            state=committed
            if [ "$moves" != 0 ]; then
                do_announce
                said=$(do_remove)
                [ -z "$said" ] || reply addresses "$said"
                # Else the sidecar still names them, and the next one who looks sees what is left to do.
                [ -n "$said" ] || [ "$after" = 0 ] || { take note "$beside-note" "$after" >/dev/null 9<&- && step record; }
            fi
            must clean
            forget_states
            reply committed ''
            exit 0
            ;;
        *) break ;;
    esac
done
exit 1
