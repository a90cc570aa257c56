#!/bin/bash
# down.sh: stop what up.sh started from this RUN_DIR, in the order that loses
# nothing: the gateway first, then the workers, the bus, the database. Keeps
# every file but the pid files.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

locate_run
if [ -z "$RUN" ] || [ ! -d "$RUN/pid" ]; then
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
for name in $ALL_ROLES; do
    stop "$name" TERM 10
done

stop nats TERM 15

if [ -s "$RUN/pg/postmaster.pid" ]; then
    pg_bin
    if as "$PG_USER" "$PG_BIN/pg_ctl" -D "$RUN/pg" status >/dev/null 2>&1; then
        (cd / && as "$PG_USER" "$PG_BIN/pg_ctl" -D "$RUN/pg" -m fast -w -t 30 stop >/dev/null) ||
            die "PostgreSQL in $RUN/pg did not stop" "look at $RUN/log/postgres.log"
        stopped="$stopped postgres"
    fi
fi
rm -f "$RUN"/pid/*.pid "$RUN"/pid/*.pid.new

if [ -n "$stopped" ]; then
    say "stopped:$stopped"
else
    say "nothing was running in $RUN_DIR"
fi
