#!/bin/bash
# Stands in for systemctl where a document's commands are tried: knows one service, and starts it as an ordinary process.
set -eu
lock="$STAGE/service.lock" pid="$STAGE/service.pid"

start() {
    exec 9>"$lock"
    flock 9
    auth-service serve >>"$STAGE/journal" 2>&1 &
    echo $! >"$pid"
    for _ in $(seq 400); do
        auth-service health >"$STAGE/health" 2>&1 && return
        read -rt 0.05 <> <(:) || true
    done
    cat "$STAGE/journal" "$STAGE/health" >&2
    exit 1
}

# Until the lock is free: it goes with the process that has it.
stop() {
    kill "$(cat "$pid")"
    flock "$lock" true
}

case "$*" in
    "start auth-service") start ;;
    "stop auth-service") stop ;;
    "restart auth-service") stop; start ;;
    *) echo "systemctl $* is not known here" >&2; exit 2 ;;
esac
