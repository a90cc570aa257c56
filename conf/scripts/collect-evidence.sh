#!/bin/sh
# collect-evidence.sh: prints what this host knows about itself at the moment.
# Reads only; safe to run again. Arguments: the service, for the heading.
set -eu

service=${1:-unnamed}

printf 'evidence for service: %s\n' "$service"
printf 'case: %s  run: %s  %s %s, attempt %s\n' "${AEGIS_CASE_ID:-?}" "${AEGIS_EXEC_ID:-?}" \
    "${AEGIS_PHASE:-?}" "${AEGIS_STEP:-?}" "${AEGIS_ATTEMPT:-?}"
printf 'host: %s\n' "$(uname -n)"
printf 'at: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"

if [ -r /proc/loadavg ]; then
    printf 'load: %s\n' "$(cat /proc/loadavg)"
fi
if [ -r /proc/meminfo ]; then
    grep -E '^(MemTotal|MemAvailable):' /proc/meminfo
fi
df -P / | tail -n 1
