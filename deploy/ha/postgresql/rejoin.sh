#!/bin/bash
# rejoin.sh: make a former primary the standby of the server that was promoted.
# Run on the former primary as postgres, while it is stopped.
#
#   rejoin.sh <data folder> <name: db_a or db_b> <conninfo of the primary>
#
# pg_rewind takes back what this server has and the primary does not: commits
# that were never acknowledged. Where it cannot (the WAL it needs is gone), make
# the standby anew with pg_basebackup. The conninfo is for a role that may rewind
# and replicate; its database is postgres. PG_BIN: where pg_rewind and pg_ctl are.
set -euo pipefail

[ $# = 3 ] || { sed -n '2,12s/^# \?//p' "$0" >&2; exit 2; }
data=$1 name=$2 primary=$3
bin=${PG_BIN:-$(pg_config --bindir)}

if "$bin/pg_ctl" -D "$data" status >/dev/null 2>&1; then
    echo "this server runs: stop it first" >&2
    exit 1
fi

"$bin/pg_rewind" --target-pgdata="$data" --source-server="$primary dbname=postgres"
touch "$data/standby.signal"
# rewinding copied the other server's: this one waits for a standby again, once
# it is the primary
sed -i -e '/^primary_conninfo/d' -e '/^synchronous_standby_names/d' "$data/postgresql.auto.conf"
echo "primary_conninfo = '${primary//\'/\'\'} application_name=$name'" >>"$data/postgresql.auto.conf"

cat <<'TEXT'
ready: start it. When pg_stat_replication of the primary shows it as streaming,
let commits wait for it again, on the primary:
    ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf();
TEXT
