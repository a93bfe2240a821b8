#!/bin/sh
# The single door to the tests: what a developer types, what CI runs. See usage() below.
# The last line of the output is always "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")" || exit 1

usage() {
    cat <<'USAGE'
Usage: ./run_tests.sh [OPTION]... [TEST]...

Runs the tests: all of them, or those named (tests/golden, tests.unit.test_rules,
tests.unit.test_rules.TestBind.test_wildcard).

  -V, --virtual-env      use the virtualenv .venv; make it when it is missing
  -N, --no-virtual-env   use the Python found in PATH as it is
  -f, --force            make the virtualenv anew, whether it is there or not
  -c, --coverage         measure coverage and print a report
  -p, --pep8             run the style check (ruff) only
      --unittests-only   leave out the integration tests, the scenarios and the lint tests
  -h, --help             print this

With neither -V nor -N: .venv is used when it is there; otherwise it is made, after a
question on a terminal.
USAGE
}

venv=.venv
use_venv= force=0 coverage=0 selection=all
while [ $# -gt 0 ]; do
    case $1 in
        -V | --virtual-env) use_venv=yes ;;
        -N | --no-virtual-env) use_venv=no ;;
        -f | --force) force=1 ;;
        -c | --coverage) coverage=1 ;;
        -p | --pep8) selection=style ;;
        --unittests-only) selection=unittests ;;
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        -*) echo "Unknown option $1" >&2; usage >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
for argument in "$@"; do
    case $argument in -*) echo "Options go before the names of tests: $argument" >&2; exit 2 ;; esac
done

# One stream: nose2 and pip write to the error output, and the tally is to come after all of it.
exec 2>&1
tally=$(mktemp) || exit 1
# Whatever happens, the last line is the tally; a run that ended before its summary has failed.
finish() {
    status=$?
    trap - EXIT
    if [ ! -s "$tally" ]; then
        [ "$status" -ne 0 ] || status=1
        echo "0 passed, 1 failed, 0 skipped" >"$tally"
        echo "The tests did not run to their end."
    fi
    cat "$tally"
    rm -f "$tally"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

. tools/packages.sh
. tools/venv.sh

if [ "$selection" != style ]; then
    install_packages haproxy openssh-server sudo lighttpd curl openssl iproute2 iputils-ping procps socat python3-venv \
        systemd debian-archive-keyring postgresql mariadb-server || exit 1
fi

if [ -z "$use_venv" ]; then
    use_venv=yes
    if [ ! -d "$venv" ] && [ -t 0 ]; then
        printf 'No virtualenv found. Make one in %s? (Y/n) ' "$venv"
        read -r answer
        case $answer in [Nn]*) use_venv=no ;; esac
    fi
fi
if [ "$use_venv" = yes ]; then
    if [ "$force" = 1 ] && [ -e "$venv" ]; then
        echo "Removing $venv"
        rm -rf "$venv"
    fi
    make_venv "$venv" || exit 1
    python=$venv/bin/python
else
    python=python3
fi

# Quick ones first: what is wrong shows early. Those of `beside` mostly wait for real programs, so they run at the same
# time as the others when everything is asked for, and what they print comes after what the others print. `last` are
# long ones of them that are left to the others, so that both parts take about as long.
beside= beside_names= last="test_hostile test_load"
case $selection in
    style) tiers= names=tests.lint.test_style ;;
    unittests) tiers="unit golden contract functional" names= ;;
    all) tiers="unit golden contract functional lint scenarios" beside=integration names= ;;
esac
for tier in $tiers; do
    [ ! -d "tests/$tier" ] || names="$names tests.$tier"
done
if [ -n "$beside" ]; then
    for module in tests/"$beside"/test_*.py; do
        [ -e "$module" ] || continue
        module=${module#"tests/$beside/"} module=${module%.py}
        case " $last " in
            *" $module "*) names="$names tests.$beside.$module" ;;
            *) beside_names="$beside_names tests.$beside.$module" ;;
        esac
    done
fi
# A path is as good as a dotted name: tests/unit/test_rules.py
if [ $# -gt 0 ]; then
    names=$(printf '%s\n' "$@" | sed 's|\.py$||; s|/$||; s|/|.|g')
    beside_names=
fi

measure=
[ "$coverage" = 0 ] || measure="-m coverage run"

# run_named TALLY NAME...: runs these tests in place of the shell that calls it, leaves their tally in a file.
run_named() {
    tally_of_these=$1
    shift
    # shellcheck disable=SC2086 # a list of words
    exec "$python" $measure -m nose2 --verbose --plugin tests.runner.tally --tally-file "$tally_of_these" "$@" </dev/null
}

if [ -n "$beside_names" ] && [ -n "$names" ]; then
    parts=$(mktemp -d) || exit 1
    # shellcheck disable=SC2086
    run_named "$parts/beside" $beside_names >"$parts/output" 2>&1 &
    beside_pid=$!
    trap 'kill "$beside_pid" 2>/dev/null; finish' EXIT
    # shellcheck disable=SC2086
    (run_named "$parts/first" $names)
    status=$?
    wait "$beside_pid" || status=1
    trap finish EXIT
    cat "$parts/output"
    # Without its tally, a part did not run to its end: then there is no sum either.
    [ ! -s "$parts/first" ] || [ ! -s "$parts/beside" ] ||
        cat "$parts/first" "$parts/beside" | awk '{ p += $1; f += $3; s += $5 }
            END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' >"$tally"
    rm -rf "$parts"
else
    # shellcheck disable=SC2086
    (run_named "$tally" $names $beside_names)
    status=$?
fi
if [ "$coverage" = 1 ]; then
    "$python" -m coverage combine --quiet && "$python" -m coverage report
fi
exit "$status"
