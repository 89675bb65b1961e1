#!/usr/bin/env bash
# Several Prefect servers on this machine, without Docker and without systemd: `replicas.sh start 3`, `replicas.sh stop`.
#
# It needs a running PostgreSQL and Redis at the addresses of postgresql.env and replicas.env, and prefect-redis in the
# environment whose `prefect` is on the path. Variables that are set already win over the files:
#   PORT       the first replica's (default 4200); the others take the next ones
#   STATE      where logs and process ids go (default .replicas)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
state="${STATE:-.replicas}"
port="${PORT:-4200}"

settings() {
    local line name
    while IFS= read -r line; do
        [[ "$line" =~ ^[A-Z_]+= ]] || continue
        name="${line%%=*}"
        [ -n "${!name+set}" ] || export "$name=${line#*=}"
    done < <(cat "$here/../server.env" "$here/../postgresql.env" "$here/replicas.env")
}

launch() { # name command…
    local name="$1"
    shift
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
}

start() {
    local count="$1" place
    mkdir -p "$state"
    settings
    python -c 'import prefect_redis' || { echo "prefect-redis is missing: pip install prefect-redis" >&2; exit 1; }
    prefect server database upgrade -y >"$state/upgrade.log" 2>&1 || { tail -n 5 "$state/upgrade.log" >&2; exit 1; }
    for ((place = 0; place < count; place++)); do
        # The recorder runs in each replica, so that recording is shared out too; Redis gives each event to one of them.
        launch "server-$place" prefect server start --host 127.0.0.1 --port $((port + place))
        # One after the other: each registers the blocks when it starts, and two at once fall over each other.
        answers "http://127.0.0.1:$((port + place))/api" || { tail -n 5 "$state/server-$place.log" >&2; stop; exit 1; }
    done
}

answers() { # url
    python - "$1" <<'PY'
import sys, time, urllib.request

for _ in range(600):
    try:
        urllib.request.urlopen(sys.argv[1] + "/health", timeout=5)
        print(sys.argv[1])
        sys.exit(0)
    except OSError:
        time.sleep(0.2)
sys.exit("no answer from " + sys.argv[1])
PY
}

stop() {
    local file pid tries
    for file in "$state"/*.pid; do
        [ -e "$file" ] || continue
        kill -- "-$(cat "$file")" 2>/dev/null || true
    done
    for file in "$state"/*.pid; do
        [ -e "$file" ] || continue
        pid="$(cat "$file")"
        # A server whose Redis is gone waits for it for ever.
        for ((tries = 0; tries < 75; tries++)); do
            kill -0 -- "-$pid" 2>/dev/null || break
            sleep 0.2
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

case "${1:-}" in
    start) start "${2:-2}" ;;
    stop) stop ;;
    *) echo "usage: $0 start [COUNT] | stop" >&2; exit 2 ;;
esac
