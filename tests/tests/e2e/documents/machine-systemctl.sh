#!/bin/bash
# systemctl and journalctl where no systemd runs: starts what a unit says, as the user it names and with its environment.
# Knows nothing of sandboxes, of dependencies and of timers, which are only looked up.
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
fail() { echo "systemctl: $*" >&2; exit 1; }

file_of() {
    local folder
    for folder in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        if [ -e "$folder/$1" ]; then echo "$folder/$1"; return; fi
    done
    fail "there is no unit $1"
}
value() { sed -n "s/^$2=-\{0,1\}//p" "$1"; }
named() { case "$1" in *.*) echo "$1" ;; *) echo "$1.service" ;; esac; }

# The command of a unit, in its folder and with its environment.
run() {
    local file="$1" user folder line
    user="$(value "$file" User)"
    folder="$(value "$file" WorkingDirectory)"
    set -a
    while read -r line; do [ ! -e "$line" ] || . "$line"; done < <(value "$file" EnvironmentFile)
    while read -r line; do eval "$line"; done < <(value "$file" Environment)
    set +a
    cd "${folder:-/}"
    user="${user:-root}"
    exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- bash -euc "exec $(value "$file" ExecStart)"
}

is_ready() {
    local file="$1"
    case "$(value "$file" Type)" in
        notify) setpriv --reuid=auth-service --regid=auth-service --init-groups -- \
            auth-service --config /etc/auth-service/auth-service.toml health ;;
    esac
}

start() {
    local unit file
    unit="$(named "$1")"
    file="$(file_of "$unit")"
    local lock="$STAGE/lock.$unit" journal="$STAGE/journal.$unit"
    case "$unit" in *.timer) file_of "${unit%.timer}.service" >/dev/null; return ;; esac
    if is_active "$unit"; then return; fi
    case "$(value "$file" Type)" in
        oneshot | forking) (run "$file") >>"$journal" 2>&1 || { cat "$journal" >&2; fail "$unit failed"; } ; return ;;
    esac
    (exec 9>"$lock"; flock 9; run "$file") >>"$journal" 2>&1 &
    echo $! >"$STAGE/pid.$unit"
    for _ in $(seq 400); do
        if is_active "$unit" && is_ready "$file" >"$STAGE/health" 2>&1; then return; fi
        read -rt 0.05 <> <(:) || true
    done
    cat "$journal" "$STAGE/health" >&2
    fail "$unit does not come up"
}

is_active() { [ -e "$STAGE/lock.$1" ] && ! flock --nonblock "$STAGE/lock.$1" true; }

# Until the lock is free: it goes with the process that has it.
stop() {
    local unit
    unit="$(named "$1")"
    is_active "$unit" || return 0
    kill "$(cat "$STAGE/pid.$unit")"
    flock "$STAGE/lock.$unit" true
}

case "$(basename "$0")" in
    journalctl)
        while [ $# -gt 0 ]; do case "$1" in -u) unit="$2"; shift ;; esac; shift; done
        exec cat "$STAGE/journal.$(named "$unit")"
        ;;
esac
verb="$1"
shift
[ "${1:-}" != --now ] || shift
case "$verb" in
    daemon-reload) ;;
    start | stop) for unit in "$@"; do "$verb" "$unit"; done ;;
    enable) for unit in "$@"; do start "$unit"; done ;;
    reload) for unit in "$@"; do kill -HUP "$(cat "$STAGE/pid.$(named "$unit")")"; done ;;
    restart | reload-or-restart) for unit in "$@"; do stop "$unit"; start "$unit"; done ;;
    is-active) is_active "$(named "$1")" && echo active ;;
    try-restart) if is_active "$(named "$1")"; then stop "$1"; start "$1"; fi ;;
    *) fail "$verb is not known here" ;;
esac
