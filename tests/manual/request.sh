# shellcheck shell=sh
# Sourced by the scripts beside it (POSIX sh): one request to the balancer API.
#   BALANCER_URL   where the API is, default http://127.0.0.1:8181
#   JSON_DIR       where the request bodies are, default the directory of the scripts

url=${BALANCER_URL:-http://127.0.0.1:8181}
json_dir=${JSON_DIR:-$(dirname "$0")}
tenant=foo

# need WORDS ARGUMENT...: ends with a usage text unless there are as many arguments as words.
need() {
    words=$1
    shift
    for word in $words; do
        if [ $# -eq 0 ] || [ -z "$1" ]; then
            echo "Usage: $(basename "$0") $words" >&2
            exit 2
        fi
        shift
    done
    [ $# -eq 0 ] || { echo "Usage: $(basename "$0") $words" >&2; exit 2; }
}

# body NAME: the path of the file with that request body.
body() {
    if [ ! -f "$json_dir/$1" ]; then
        echo "$(basename "$0"): there is no file $1 in $json_dir" >&2
        exit 2
    fi
    echo "$json_dir/$1"
}

# request METHOD PATH [FILE]: sends it (FILE "-": standard input as the body), prints the answer's body. An answer
# that is no success ends with status 1 and prints its HTTP status as well.
request() {
    method=$1
    path=$2
    shift 2
    [ $# -eq 0 ] || set -- -H 'Content-Type: application/json' --data-binary "@$1"
    answer=$(curl -sS --noproxy 127.0.0.1,localhost,::1 --globoff -X "$method" "$@" -w '\n%{http_code}' "$url$path") || {
        echo "$(basename "$0"): no answer to $method $url$path. Does balancer-api run there? (BALANCER_URL)" >&2
        exit 1
    }
    status=$(printf '%s\n' "$answer" | tail -n 1)
    printf '%s\n' "$answer" | sed '$d'
    case $status in
        2??) ;;
        *) echo "$(basename "$0"): HTTP $status for $method $url$path" >&2; exit 1 ;;
    esac
}
