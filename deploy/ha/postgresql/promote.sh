#!/bin/bash
# promote.sh: make this standby the primary, without Patroni. Run on the standby
# as postgres, once the old primary is off: powered off, its port closed, or its
# address taken away. An old primary that still runs acknowledges nothing any
# more (its synchronous standby is gone), but it answers reads.
#
#   promote.sh [--fenced] [<conninfo of the old primary>]
#
# Refuses while the old primary answers, unless --fenced says that nobody but
# this host reaches it. Until the other server is back as the standby
# (rejoin.sh), commits wait for nobody.
set -euo pipefail

fenced=
if [ "${1:-}" = --fenced ]; then
    fenced=1
    shift
fi
old=${1:-}
sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" "$@"; }

[ "$(sql -c 'SELECT pg_is_in_recovery()')" = t ] || { echo "this server is no standby" >&2; exit 1; }

if [ -z "$fenced" ] && [ -n "$old" ] &&
    PGCONNECT_TIMEOUT=3 psql -XAtq -d "$old" -c 'SELECT 1' >/dev/null 2>&1; then
    echo "the old primary answers: switch it off first, or say --fenced" >&2
    exit 1
fi

sql -c "ALTER SYSTEM SET synchronous_standby_names = ''"
sql -c 'SELECT pg_reload_conf()' >/dev/null
[ "$(sql -c 'SELECT pg_promote(true, 60)')" = t ] || { echo "not promoted within 60 s" >&2; exit 1; }
# pg_rewind of the other server reads the timeline from the control file
sql -c CHECKPOINT
echo "promoted: timeline $(sql -c 'SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)')"
