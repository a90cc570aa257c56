#!/bin/sh
# run.sh <target> <seconds>: fuzz one target of build/fuzz on top of the corpus
# that is kept, for so many seconds of CPU: libFuzzer counts by the clock, and ten
# minutes beside other work would be two. Inputs that reach something new go to build/fuzz/found/<target>,
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

set -- -max_len=4096 -timeout=600 -print_final_stats=1 -artifact_prefix="build/fuzz/bad/$target-"
[ ! -f "$kept.dict" ] || set -- "$@" -dict="$kept.dict"

# sets $used: whole seconds of CPU of this shell's children (a subshell's are not asked for)
used=0
count() {
    times >build/fuzz/times.$$
    used=$(awk -F '[ms ]+' 'NR == 2 { print int(($1 + $3) * 60 + $2 + $4) }' build/fuzz/times.$$)
    rm -f build/fuzz/times.$$
}

runs=0
while [ "$used" -lt "$seconds" ]; do
    if ! "$bin" -max_total_time=$((seconds - used)) "$@" "$found" "$kept" >"$log" 2>&1; then
        tail -40 "$log"
        echo "fuzz $target: FOUND SOMETHING, see $log and build/fuzz/bad" >&2
        exit 1
    fi
    runs=$((runs + $(sed -n '1,/DONE/s/^#\([0-9]*\).DONE.*/\1/p' "$log")))
    count
done
fuzzed=$used

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

sed -n "1,/DONE/s/^#[0-9]*.DONE.* cov: \([0-9]*\) ft: \([0-9]*\) .*/fuzz $target: nothing found in $runs runs and $fuzzed s of CPU, \1 edges, \2 features/p" "$log"
