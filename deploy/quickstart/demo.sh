#!/bin/bash
# demo.sh [SCENARIO | list | --no-case]: from a bare machine to cases that move:
# install what is missing, build, bring everything up, play a scenario and show its
# transitions as they happen. Leaves the system up. Can be repeated: each run makes
# other cases. A scenario is a file of scenarios/; what it finds is scenario.sh.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$QS/scenario.sh"

[ $# -le 1 ] || die "usage: demo.sh [SCENARIO | list | --no-case]"
scenario=${1:-incident}
case $scenario in
list)
    list_scenarios
    exit 0
    ;;
--no-case) ;;
*)
    check_scenario "$scenario"
    # shellcheck disable=SC1090 # one of scenarios/
    . "$QS/scenarios/$scenario.sh"
    ;;
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
[ "$scenario" != --no-case ] || exit 0
locate_run
# shellcheck disable=SC1091 # written by up.sh
. "$RUN/aegis.env"

learn
play
echo
quotes "$id"
say "the scenario $scenario went as it should, and Aegis is still up"

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
Others    make demo SCENARIO=list
Stop it   make down
END
