#!/bin/bash
# restore.sh: make a data folder from a base backup and the archived WAL, as the
# database was at a moment. Run as postgres. Starting the server then replays the
# WAL up to that moment and lets it take writes, on a timeline of its own.
#
#   restore.sh <base backup> <WAL archive> <new data folder> [<time>]
#
# The backup is a folder that pg_basebackup made, and stays as it is. Without a
# time all of the archive is replayed. The new folder must be empty or not there.
set -euo pipefail

[ $# -ge 3 ] || { sed -n '2,10s/^# \?//p' "$0" >&2; exit 2; }
base=$1 archive=$2 data=$3 time=${4:-}

[ -e "$base/backup_label" ] || { echo "$base is no base backup: it has no backup_label" >&2; exit 1; }
[ -d "$archive" ] || { echo "$archive is no folder" >&2; exit 1; }
if [ -e "$data" ] && [ -n "$(ls -A "$data")" ]; then
    echo "$data is not empty" >&2
    exit 1
fi

mkdir -p "$data"
cp -a "$base/." "$data/"
chmod 700 "$data"
rm -f "$data/postmaster.pid" "$data/standby.signal"
{
    echo "restore_command = 'cp \"$archive/%f\" \"%p\"'"
    [ -z "$time" ] || echo "recovery_target_time = '$time'"
    echo "recovery_target_action = 'promote'"
    # nobody stands by yet
    echo "synchronous_standby_names = ''"
} >>"$data/postgresql.auto.conf"
touch "$data/recovery.signal"
echo "ready: start it, and wait until SELECT pg_is_in_recovery() says f"
