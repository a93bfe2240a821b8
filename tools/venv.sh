# shellcheck shell=sh
# Sourced by run_tests.sh and bin/balancer-devbox (POSIX sh). Finding a Python, making the virtualenv.

# find_python: prints the first Python 3.11 or later that can make virtualenvs. The distribution's own comes
# first: others in PATH (pyenv shims, conda) may be of any version and lack ensurepip.
find_python() {
    for python_candidate in "${BALANCER_PYTHON:-}" /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3; do
        [ -n "$python_candidate" ] || continue
        if "$python_candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python_candidate"
            return 0
        fi
    done
    echo "No Python 3.11 or later with the venv module was found (Debian: apt-get install python3-venv)." >&2
    return 1
}

# make_venv DIR [EXTRA]: makes or brings up to date the virtualenv DIR with this project (editable), its dependencies
# and those of an extra of pyproject.toml (default "test", "" for none). To be called in the checkout. Does nothing
# when DIR was built from the present pyproject.toml. pip's progress goes to standard error.
make_venv() {
    venv_dir=$1
    venv_extra=${2-test}
    venv_python=$(find_python) || return 1
    # The path is part of it: a virtualenv does not survive being moved.
    venv_want=$(printf '%s %s' "$(sha256sum <pyproject.toml | cut -d' ' -f1)" "$PWD/$venv_dir")
    venv_stamp=$venv_dir/.built-from
    venv_have=$(cat "$venv_stamp" 2>/dev/null)
    [ "$venv_have" = "$venv_want $venv_extra" ] && return 0
    # Built with an extra, asked for without: it has all that is needed.
    case "$venv_extra,$venv_have" in ",$venv_want "*) return 0 ;; esac
    # What an interrupted run left is not worth repairing.
    if ! "$venv_dir/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$venv_dir"
        echo "Making the virtualenv $venv_dir with $venv_python" >&2
        "$venv_python" -m venv "$venv_dir" || return 1
    fi
    echo "Installing this project and its dependencies into $venv_dir" >&2
    "$venv_dir/bin/python" -m pip install --disable-pip-version-check --no-input \
        -e ".${venv_extra:+[$venv_extra]}" >&2 || return 1
    printf '%s\n' "$venv_want $venv_extra" >"$venv_stamp"
}
