#!/bin/bash
# demo.sh: from a bare machine to a closed case: install what is missing, build,
# bring everything up, create a case and print its transitions as they happen.
# Leaves the system up. Can be repeated: each run makes another case. With
# --no-case everything but the case.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

case ${1:-} in
'' | --no-case) ;;
*) die "usage: demo.sh [--no-case]" ;;
esac
check_path "$ROOT" "move the clone, or clone it elsewhere"
check_path "$RUN_DIR" "choose another place: RUN_DIR=... make up"

"$QS/deps.sh"
log=$ROOT/build/demo.log
mkdir -p "$ROOT/build"
say "building in ${B#"$ROOT/"} (log: build/demo.log)"
flock -o "$ROOT/build" make -C "$ROOT" --no-print-directory -j"$(nproc)" SAN="$SAN" B="${B#"$ROOT/"}" all >"$log" 2>&1 ||
    die "the build failed:" "$(grep -E -m5 'error:|Error ' "$log" || tail -5 "$log")" "look at $log"
"$QS/up.sh"
[ "${1:-}" != --no-case ] || exit 0
locate_run

ctl() { "$RUN/bin/aegisctl" --env-file "$RUN/aegis.env" "$@"; }

say "creating a case: an incident, mode auto"
id=$(ctl case create "Demo: checkout answers slowly" --kind incident --severity critical \
    --tag demo --label service=checkout --label env=staging --reason "make demo" --quiet)
say "case $id"
echo
echo "time (UTC)       since start   from        to         event           rule     who: why"
ctl case watch "$id" --until CLOSED --for 60 --interval-ms 50 || {
    rc=$?
    die "the case did not reach CLOSED (exit code $rc)" \
        "$RUN/bin/aegisctl --env-file $RUN/aegis.env doctor" "logs: $RUN/log"
}
echo
say "the case is CLOSED, and Aegis is still up"

# shellcheck disable=SC1091 # written by up.sh
. "$RUN/aegis.env"
cat <<END

Talk to it:
  set -a; . $RUN_DIR/aegis.env; set +a
  PATH=$RUN/bin:\$PATH
  aegisctl case timeline $id
  aegisctl case create "My first case"
  aegisctl fsm explain --case $id --version 5
  aegisctl doctor
  curl --cacert \$AEGIS_CA -H "Authorization: Bearer \$AEGIS_TOKEN" \$AEGIS_URL/case/$id

Gateway   $AEGIS_URL (CA: $AEGIS_CA)
Token     $AEGIS_TOKEN
Metrics   $AEGIS_URL/metrics
          ${AEGIS_METRICS// /
          }
Logs      $RUN_DIR/log
Stop it   make down
END
