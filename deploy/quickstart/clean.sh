#!/bin/bash
# clean.sh: remove a stopped RUN_DIR and, when it is a link, what it links to.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

locate_run
[ -n "$RUN" ] || { rm -f "$RUN_DIR"; exit 0; }
if [ ! -d "$RUN/pid" ] || [ ! -d "$RUN/secrets" ]; then
    die "$RUN_DIR does not look like a quick start's folder"
fi
"$QS/down.sh"
rm -rf --one-file-system "$RUN"
[ ! -L "$RUN_DIR" ] || rm -f "$RUN_DIR"
say "removed $RUN_DIR"
