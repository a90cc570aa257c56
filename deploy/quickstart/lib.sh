# shellcheck shell=bash disable=SC2034
# lib.sh: what the quick start's scripts share: where things are, who runs what,
# how progress is said, and how a process of ours is known and stopped.
#
# Invariant: only processes that were started from this RUN_DIR are ever
# signalled: their command lines name the folder, whatever a pid file says.
# Knobs, all by environment: RUN_DIR, SAN, B, PG_EXTRA_CONF, ROLES, NGX_WORKERS,
# KAFKA_BROKERS, NATS_EXTRA_CONF, OTEL_ENDPOINT.

set -euo pipefail

QS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$QS/../.." && pwd)
RUN_DIR=${RUN_DIR:-$ROOT/run}
case $RUN_DIR in /*) ;; *) RUN_DIR=$PWD/$RUN_DIR ;; esac
[ "${VARIANT:-}" != asan ] || SAN=1
SAN=${SAN:-}
B=${B:-build/$([ -n "$SAN" ] && echo asan || echo release)}
case $B in /*) ;; *) B=$ROOT/$B ;; esac
ALL_ROLES="relay fsm analyst planner gate exec verify sensor librarian"
ROLES=${ROLES-$ALL_ROLES} # or all: one process for all of them
NGX_WORKERS=${NGX_WORKERS:-2}
KAFKA_BROKERS=${KAFKA_BROKERS:-}
OTEL_ENDPOINT=${OTEL_ENDPOINT:-} # http://127.0.0.1:4318/v1/traces
LINKED=/var/tmp/aegis-run # where RUN_DIR links to when its own place is closed

# Root gives each part a user that can do little else; others run it as themselves.
if [ "$(id -u)" = 0 ]; then
    PG_USER=postgres
    SVC_USER=nobody
else
    PG_USER=$(id -un)
    SVC_USER=$(id -un)
fi

export AEGIS_STARTED=${AEGIS_STARTED:-$EPOCHREALTIME}

# check_path path what-to-do: only what configuration files and scripts take
# without quoting. Letters beyond ASCII are fine everywhere.
check_path() {
    case $1 in *[[:space:][:cntrl:]\"\'\`\\\$\;\&\|\#\{\}\(\)\[\]\<\>*?!~^]*)
        die "the path $1 has characters that configuration files do not take" "$2" ;;
    esac
}

# A line with the seconds since the first command began.
say() {
    local us=$((${EPOCHREALTIME/[.,]/} - ${AEGIS_STARTED/[.,]/}))
    printf '[%3d.%d s] %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$*"
}

# die what-is-wrong [what-to-do ...]
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# = 0 ] || printf '  -> %s\n' "$@" >&2
    exit 1
}

# as user command...: with no rights but that user's.
as() {
    local user=$1
    shift
    if [ "$user" = "$(id -un)" ]; then
        "$@"
    else
        setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --no-new-privs -- "$@"
    fi
}

# spawn user log command...: start it in the background, in a session of its own,
# holding on to nothing of ours, so that a caller who reads our output sees its end.
spawn() {
    local user=$1 log=$2
    shift 2
    (
        exec </dev/null >>"$log" 2>&1
        if [ "$user" = "$(id -un)" ]; then
            exec setsid "$@"
        fi
        exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --no-new-privs -- setsid "$@"
    ) &
}

# Close what a caller (make, prove) left open: what we start would keep it.
close_inherited() {
    local fd
    for fd in "/proc/$$/fd/"*; do
        fd=${fd##*/}
        if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then # 255 is this script
            eval "exec $fd>&-" 2>/dev/null || true
        fi
    done
}

# until_ok seconds command...: try again until it works; 1 when the time is over.
until_ok() {
    local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# pid_of name: the pid of a running process of ours, or nothing and 1.
pid_of() {
    local file=$RUN/pid/$1.pid pid
    [ -r "$file" ] || return 1
    read -r pid <"$file" || [ -n "$pid" ] || return 1
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$RUN/" || return 1
    echo "$pid"
}

is_gone() { [ ! -d "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"; }

# stop name signal seconds: ask, wait, then insist. Says nothing when it is not running.
stop() {
    local pid
    pid=$(pid_of "$1") || { rm -f "$RUN/pid/$1.pid"; return 0; }
    kill -s "$2" "$pid" 2>/dev/null || true
    if ! until_ok "$3" is_gone "$pid"; then
        say "$1 ($pid) did not stop in $3 s: killing it"
        kill -s KILL "$pid" 2>/dev/null || true
        until_ok 5 is_gone "$pid" || die "$1 ($pid) cannot be killed"
    fi
    rm -f "$RUN/pid/$1.pid"
    case $1 in *.sup) ;; *) stopped="${stopped:-} $1" ;; esac
}

# The folder that RUN_DIR stands for: itself, or what it links to. When the link
# alone was removed, the folder that it led to is found by the name it keeps.
locate_run() {
    local d
    RUN=
    if [ -e "$RUN_DIR" ]; then
        RUN=$(cd -P "$RUN_DIR" && pwd)
        return
    fi
    for d in "$LINKED".*; do
        if [ -d "$d" ] && [ ! -L "$d" ] && [ -O "$d" ] && [ "$(cat "$d/run_dir" 2>/dev/null)" = "$RUN_DIR" ]; then
            RUN=$d
        fi
    done
}

# started_from folder: the pids of the processes that were started from this
# folder, by their command lines, whatever pid files say.
started_from() {
    local p
    local -a argv
    for p in /proc/[0-9]*; do
        [ "$EUID" = 0 ] || [ -O "$p" ] || continue
        mapfile -d '' -t argv 2>/dev/null <"$p/cmdline" || continue
        case "${argv[*]} " in
        "nginx: master process "*" -p $1/nginx "* | "nats-server -c $1/nats/nats.conf "* | \
            "/bin/bash $1/bin/supervise.sh "* | "$1/bin/aegis-worker "* | */bin/postgres" -D $1/pg "*)
            echo "${p#/proc/}"
            ;;
        esac
    done
}

pg_bin() {
    local d
    for d in /usr/lib/postgresql/*/bin; do
        [ -x "$d/initdb" ] && PG_BIN=$d
    done
    PG_BIN=${AEGIS_PG_BIN:-${PG_BIN:-}}
    [ -n "${PG_BIN:-}" ] || die "no PostgreSQL server is installed" "make deps"
}
