#!/bin/sh
# restart-service.sh: says how it would restart a service, and does nothing else:
# put your own command where it says so. Exit codes: 0 done, 64 bad arguments.
# Arguments: the service, then the phase (restart, canary, full; default restart).
set -eu

service=${1:-}
phase=${2:-restart}

case $service in
    '' | -* | *[!A-Za-z0-9@._-]*)
        printf 'not the name of a service: "%s"\n' "$service" >&2
        exit 64
        ;;
esac

case $phase in
    restart | canary | full) ;;
    *)
        printf 'not a phase: "%s"\n' "$phase" >&2
        exit 64
        ;;
esac

printf 'token %s\n' "${AEGIS_TOKEN:-none}"
# systemctl restart -- "$service" would stand here.
printf 'would run: systemctl restart -- %s (%s)\n' "$service" "$phase"
