# Puts a new configuration into service, or nothing of it. Run as the login user under `timeout`; POSIX shell, GNU or
# busybox tools. What precedes this text defines a function do_STEP for every single command that may need more rights.
# $1 real path of haproxy.cfg    $2 sha256 that it must have now        $3 epoch      $4 device id
# $5 bytes on standard input, "-" to leave the file as it is            $6 their sha256
# $7 the new sidecar
# $8 check, live, reload, start, stop or none: what to do with haproxy  $9 yes or no: ask haproxy -c
# ${10} yes or no: take owner and mode from the old file                ${11} the operand that haproxy has after -f
# ${12} a device id whose sidecar may be replaced: it has nothing here any more
# ${13} the sidecar once addresses were removed, or nothing
# ${14} bytes of the server state file that follow on standard input, 0 to leave it as it is
# What precedes also defines do_add, do_remove and do_announce: calls of `attempt` and `announce` for addresses.
#
# Standard output: "balancer-deploy 1", then one line "WORD base64" as the result, or "installed PIDS" and then answers
# to what is read: "pids", "again" (reload once more), "commit", anything else or the end of the input rolls back. Addresses that could not be
# changed do not keep the rest from being done: a line "addresses base64" comes before the one it belongs to.
umask 022
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

config=$1 expected=$2 epoch=$3 device=$4 bytes=$5 sum=$6 note=$7 action=$8 ask=$9
shift 9
keep=$1 operand=$2 heir_of=$3 note_after=$4 states=$5
directory=${config%/*}
staged=$directory/.${config##*/}.balancer-new
state=untouched
handed=no

reply() {
    if [ -n "$2" ]; then echo "$1 $(printf %s "$2" | base64 | tr -d '\n')"; else echo "$1 "; fi
}

# Runs one step without our input and our lock; standard error is kept in $said.
step() { said=$("do_$1" 2>&1 >/dev/null </dev/null 9<&-); }
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

# $1 a file, $2 the step that prints it where more rights are needed for that.
sum_of() {
    if [ -r "$1" ]; then sha256sum <"$1"; else "$2" 2>/dev/null </dev/null 9<&- | sha256sum; fi
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

roll_back() {
    # A reload that follows another too closely is lost.
    [ "$action" != reload ] || newcomer "$before" 10
    if step restore; then
        case $action in
            # A master that is still busy with the reload before does not hear this one: then once more.
            reload) before=$(haproxies) && for turn in 1 2 3; do step reload && newcomer "$before" 10 && break; done ;;
            start) [ -z "$(haproxies)" ] || step stop ;;
        esac
        reply rolled-back ''
        step clean
    else
        # The previous file stays beside the new one.
        reply failed-restore "$said"
    fi
}

# What one worker hands to the next is stale at any later start.
forget_states() {
    [ "$handed" = no ] || printf '1\n' | do_states >/dev/null 2>&1 9<&-
    handed=no
}

finish() {
    trap '' HUP INT TERM
    trap - EXIT
    case $state in
        # Not the previous file: one that is there is the mark of a deployment that nobody verified.
        staged) step discard ;;
        installed) roll_back ;;
    esac
    forget_states
    exit
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
# The other end may be gone while we still have to clean up.
trap '' PIPE

echo 'balancer-deploy 1'
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
    owner='' newest=''
    while read -r line; do
        case $line in
            '"device_id": "'*) owner=${line#*: \"} && owner=${owner%%[!0-9a-f]*} ;;
            '"epoch": '*) newest=${line#*: } && newest=${newest%%[!0-9]*} ;;
        esac
    done <"$config.balancer"
    case $owner in
        "$device") [ "${newest:-0}" -le "$epoch" ] || { reply stale "$newest"; exit 1; } ;;
        '' | "$heir_of") ;;
        *) reply foreign "$owner"; exit 1 ;;
    esac
fi
now=$(sum_of "$config" do_read)
[ "${now%% *}" = "$expected" ] || { reply changed ''; exit 1; }

state=staged
if [ "$bytes" != - ]; then
    [ "$keep" = no ] || must copy
    said=$(head -c "$bytes" | do_write 2>&1 >/dev/null 9<&-) || { reply failed-write "$said"; exit 1; }
    now=$(sum_of "$staged" do_read_staged)
    [ "${now%% *}" = "$sum" ] || { reply incomplete ''; exit 1; }
fi
noted=''
if [ "$ask" = yes ]; then
    # Meanwhile: haproxy takes its time.
    if [ "$action" != check ]; then
        printf %s "$note" | do_note >/dev/null 2>&1 9<&- &
        noted=$!
    fi
    said=$(do_check 2>&1 </dev/null 9<&-)
    answer=$?
    [ -z "$noted" ] || wait "$noted" || noted=''
    case $answer in
        0) ;;
        # No program, or none that may be run.
        126 | 127) reply failed-check "$said"; exit 1 ;;
        *) reply rejected "$said"; exit 1 ;;
    esac
fi
[ "$action" != check ] || { reply accepted "$said"; exit 0; }

# Once more when it failed, to say why.
[ -n "$noted" ] || said=$(printf %s "$note" | do_note 2>&1 >/dev/null 9<&-) || { reply failed-note "$said"; exit 1; }
must record
if [ "$action" = live ]; then
    # It runs already.
    must install
    reply committed ''
    exit 0
fi
said=$(do_add)
[ -z "$said" ] || reply addresses "$said"
before=$(haproxies)
if [ "$states" != 0 ]; then
    handed=yes
    said=$(head -c "$states" | do_states 2>&1 >/dev/null 9<&-) || { reply failed-states "$said"; exit 1; }
fi
if [ "$bytes" != - ]; then
    must backup
    state=installed
    must install
fi
case $action in reload | start | stop) must "$action" ;; esac
echo "installed $before"

while read -r verdict; do
    case $verdict in
        pids) echo "pids $(haproxies)" ;;
        again) step reload ;;
        commit)
            state=committed
            do_announce
            if [ -n "$note_after" ]; then
                said=$(do_remove)
                [ -z "$said" ] || reply addresses "$said"
                # Else the sidecar still names them, and the next one who looks sees what is left to do.
                [ -n "$said" ] || { printf %s "$note_after" | do_note >/dev/null 2>&1 9<&- && step record; }
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
