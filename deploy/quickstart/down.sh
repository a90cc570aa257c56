#!/bin/bash
# down.sh: stop what up.sh started from this RUN_DIR, in the order that loses
# nothing: the gateway first, then the workers, the bus, the database. Keeps
# every file but the pid files.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# What runs from this folder but has no pid file, because files were removed
# under it. Those that keep data get no chance to write at their end: the paths
# that they remember may be another installation's by now.
stop_strays() {
    local pid signal pids
    pids=$(started_from "$1")
    for pid in $pids; do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in
        postgres) signal=QUIT ;;
        nats-server) signal=KILL ;;
        *) signal=TERM ;;
        esac
        kill -s "$signal" "$pid" 2>/dev/null || true
    done
    for pid in $pids; do
        until_ok 10 is_gone "$pid" || kill -s KILL "$pid" 2>/dev/null || true
    done
    # shellcheck disable=SC2086 # a list of words
    [ -z "$pids" ] || say "stopped what had no pid file any more: processes" $pids
}

# After a kill, PostgreSQL's lock files may name a process that nobody has reaped,
# or by now somebody else's: it would not start. They go when its own are gone.
forget_postgres() {
    none_left() { [ -z "$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$RUN/pg" 2>/dev/null)" ]; }
    [ -n "$(find "$RUN/pg/postmaster.pid" "$RUN"/sock/.s.PGSQL.* 2>/dev/null)" ] || return 0
    until_ok 10 none_left || die "processes of a killed PostgreSQL still use $RUN/pg"
    rm -f "$RUN/pg/postmaster.pid" "$RUN"/sock/.s.PGSQL.*
}

locate_run
if [ -z "$RUN" ] || [ ! -d "$RUN/pid" ]; then
    stop_strays "$(readlink -m -- "$RUN_DIR")"
    say "nothing runs in $RUN_DIR"
    exit 0
fi

stopped=
supervised=
stop nginx QUIT 15
# workers outlive a killed master, and keep the port: they are nginx in our folder
for p in /proc/[0-9]*; do
    if read -r name 2>/dev/null <"$p/comm" && [ "$name" = nginx ] &&
        [ "$(readlink "$p/cwd" 2>/dev/null)" = "$RUN" ]; then
        kill -s TERM "${p#/proc/}" 2>/dev/null || true
        until_ok 5 is_gone "${p#/proc/}" || kill -s KILL "${p#/proc/}" 2>/dev/null || true
    fi
done

# all workers at once, then wait for each
for f in "$RUN"/pid/*.sup.pid; do
    [ -e "$f" ] || continue
    name=${f##*/}
    name=${name%.sup.pid}
    if pid=$(pid_of "$name.sup"); then
        kill -s TERM "$pid" 2>/dev/null || true
        supervised="$supervised $name"
    fi
done
for name in $supervised; do
    stop "$name.sup" TERM 30
done
stopped="$stopped$supervised"
# and what a killed supervisor may have left
for name in $ALL_ROLES all; do
    stop "$name" TERM 10
done

stop nats TERM 15

if [ -s "$RUN/pg/postmaster.pid" ]; then
    pg_bin
    read -r pid <"$RUN/pg/postmaster.pid"
    if started_from "$RUN" | grep -x "$pid" >/dev/null; then
        # pg_ctl also fails when the server is killed meanwhile
        (cd / && as "$PG_USER" "$PG_BIN/pg_ctl" -D "$RUN/pg" -m fast -w -t 30 stop >/dev/null 2>&1) ||
            until_ok 1 is_gone "$pid" ||
            die "PostgreSQL in $RUN/pg did not stop" "look at $RUN/log/postgres.log"
        stopped="$stopped postgres"
    fi
fi
stop_strays "$RUN"
forget_postgres
rm -f "$RUN"/pid/*.pid "$RUN"/pid/*.pid.new

if [ -n "$stopped" ]; then
    say "stopped:$stopped"
else
    say "nothing was running in $RUN_DIR"
fi
