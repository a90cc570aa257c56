#!/bin/sh
# run.sh <target> <seconds>: fuzz one target of build/fuzz on top of the corpus
# that is kept. Inputs that reach something new go to build/fuzz/found/<target>,
# the few that reach a new edge of the code also into the kept corpus; one that
# fails is left in build/fuzz/bad. sensor-<name> is one of sensor/sensor.c's targets.
set -eu
target=$1 seconds=$2
cd "$(dirname "$0")/../.."
kept=t/data/fuzz/$target
found=build/fuzz/found/$target
log=build/fuzz/$target.log
bin=build/fuzz/$target
case $target in
sensor-*)
    AEGIS_FUZZ_KIND=${target#sensor-} bin=build/fuzz/sensor
    export AEGIS_FUZZ_KIND ;;
esac
mkdir -p "$found" build/fuzz/bad

set -- -max_total_time="$seconds" -max_len=4096 -timeout=600 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/bad/$target-"
[ ! -f "$kept.dict" ] || set -- "$@" -dict="$kept.dict"

if ! "$bin" "$@" "$found" "$kept" >"$log" 2>&1; then
    tail -40 "$log"
    echo "fuzz $target: FOUND SOMETHING, see $log and build/fuzz/bad" >&2
    exit 1
fi

# seeds have names; what was found is named by its hash and is thinned out here
thin=build/fuzz/thin/$target
rm -rf "$thin"
mkdir -p "$thin"
for f in "$kept"/*; do
    case ${f##*/} in
    [0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*) ;;
    *) cp "$f" "$thin/" ;;
    esac
done
"$bin" -merge=1 -use_counters=0 -max_len=1024 "$thin" "$kept" "$found" >>"$log" 2>&1
rm -f "$kept"/*
cp "$thin"/* "$kept/"

sed -n "1,/DONE/s/^#\([0-9]*\).DONE.* cov: \([0-9]*\) ft: \([0-9]*\) .*/fuzz $target: nothing found in \1 runs, \2 edges, \3 features/p" "$log"
