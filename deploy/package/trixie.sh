#!/bin/bash
# trixie.sh [suites]: all of this on Debian 13: its compiler, nginx 1.26,
# PostgreSQL 17, nats-server 2.10. Makes a root of it in build/roots, installs
# what the tests need there, builds, runs the suites (default: all) and then
# builds and tries the packages there too. Again: only what has changed.
#
# Invariant: sources go in as a copy, results come out under build/; services
# are started by the suites and end with them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

RELEASE=trixie
SUITES=${*:--r t/}
OUT=$ROOT/build/$RELEASE

need_root "make trixie-test"
command -v debootstrap >/dev/null || "$QS/deps.sh" --package
make_root "$RELEASE"
mkdir -p "$OUT"

# A root of its own, so that the packages are built and tried in one that is clean.
root=$ROOTS/$RELEASE-test
if ! cmp -s "$ROOTS/$RELEASE/.made" "$root/.made"; then
    rm -rf --one-file-system "$root"
    cp -a "$ROOTS/$RELEASE" "$root"
fi
stamp=$(sha256sum <"$QS/deps.sh")
if [ "$(cat "$root/.built" 2>/dev/null)" != "$stamp" ]; then
    say "installing what the tests need in a root of $RELEASE"
    ROOT_BIND=$ROOT/deploy in_root "$root" /opt/quickstart/deps.sh --tests >"$OUT/deps.log" 2>&1 ||
        die "that failed:" "$(tail -5 "$OUT/deps.log")"
    echo "$stamp" >"$root/.built"
fi

# Files that did not change keep their time, so that make builds what did.
new=$(mktemp -d "${TMPDIR:-/tmp}/aegis-trixie.XXXXXX")
trap 'rm -rf "$new"' EXIT
copy_sources "$new"
mkdir -p "$root/srv/aegis"
(
    cd "$root/srv/aegis"
    find . \( -path ./build -o -path ./run \) -prune -o -type f -print | while IFS= read -r f; do
        [ -e "$new/$f" ] || rm -f "$f"
    done
)
(cd "$new" && find . -type f) | while IFS= read -r f; do
    if ! cmp -s "$new/$f" "$root/srv/aegis/$f"; then
        mkdir -p "$root/srv/aegis/${f%/*}"
        cp "$new/$f" "$root/srv/aegis/$f"
    fi
done

in_root "$root" sh -c "dpkg-query -W -f='\${Package} \${Version}\n' gcc nginx postgresql nats-server libpq5 \
    libnats-dev librdkafka1 libssl3t64" | tee "$OUT/versions"
say "building on $RELEASE (log: $OUT/build.log)"
in_root "$root" make -C /srv/aegis -j"$(nproc)" test-build V=1 >"$OUT/build.log" 2>&1 ||
    die "the build failed:" "$(tail -15 "$OUT/build.log")"
if grep -hE '\bwarning: ' "$OUT/build.log" "$root/srv/aegis/build/release/nginx/make.log"; then
    die "the compiler warns"
fi
say "running $SUITES on $RELEASE (log: $OUT/test.log)"
# what an earlier run left there was killed with its name space
find "$root/tmp" -mindepth 1 -delete
rc=0
in_root "$root" make -C /srv/aegis test-built T="$SUITES" >"$OUT/test.log" 2>&1 || rc=$?
grep -aE '^\[.*\] t/|^Files=|^Result|Failed|skipped' "$OUT/test.log" || true
[ "$rc" = 0 ] || die "the suites fail on $RELEASE" "see $OUT/test.log"
"$PACKAGE/deb_test.sh" "$RELEASE"
