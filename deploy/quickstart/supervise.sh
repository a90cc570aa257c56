#!/bin/bash
# supervise.sh <run dir> <name> <command...>: keep one process running: start it
# again when it ends, sooner or later by how long it lived; pass TERM and HUP on;
# end when it ended after TERM. Its pid is in pid/<name>.pid, this one's in
# pid/<name>.sup.pid. The child gets TERM when this process dies.
set -u

run=$1 name=$2
shift 2
child='' stopping='' delay=${RESTART_S:-0.2} # a test that kills it often says RESTART_S

forward() { [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null; }
trap 'stopping=1; forward TERM' TERM INT
trap 'forward HUP' HUP

say() { printf '{"ts":"%s","level":"%s","role":"supervisor","event":"%s","name":"%s","detail":"%s"}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$1" "$2" "$name" "$3" >&2; }

echo $$ >"$run/pid/$name.sup.pid"
while [ -z "$stopping" ]; do
    began=$EPOCHSECONDS
    setpriv --pdeathsig TERM -- "$@" &
    child=$!
    echo "$child" >"$run/pid/$name.pid.new" && mv "$run/pid/$name.pid.new" "$run/pid/$name.pid"
    # wait returns early when a trap ran: wait until the child is really gone
    rc=0
    while :; do
        wait "$child"
        rc=$?
        kill -0 "$child" 2>/dev/null || break
    done
    child=''
    [ -z "$stopping" ] || break
    [ $((EPOCHSECONDS - began)) -lt 10 ] || delay=0.2
    say warn restart "exit code $rc, again in $delay s"
    sleep "$delay" &
    child=$!
    wait "$child"
    child=''
    [ -z "${RESTART_S:-}" ] || continue
    case $delay in 0.2) delay=0.5 ;; 0.5) delay=1 ;; 1) delay=2 ;; 2) delay=5 ;; *) delay=10 ;; esac
done
rm -f "$run/pid/$name.pid" "$run/pid/$name.sup.pid"
say info stopped ""
