#!/bin/bash
# deb_test.sh [release]: what a Debian user does with the packages, in clean
# roots of that release (default: this machine's): build them with nothing but
# their Build-Depends, install, run, move a case through them, remove, purge.
#
# Invariant: each part leaves its root as it was, and name spaces end what it
# mounted and started. Only this machine's apt knows where packages come from.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

RELEASE=${1:-$HOST_RELEASE}
OUT=$ROOT/build/deb/$RELEASE

need_root "make deb-test"
command -v debootstrap >/dev/null || "$QS/deps.sh" --package
make_root "$RELEASE"

work=$(mktemp -d "${TMPDIR:-/tmp}/aegis-deb-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
copy_sources "$work/src"

# A root with the packages' Build-Depends and nothing else, kept while they and
# the root that it was made from stay the same.
build_root=$ROOTS/$RELEASE-build
stamp=$(cat "$ROOTS/$RELEASE/.made" "$ROOT/deploy/debian/control" | sha256sum)
if [ "$(cat "$build_root/.built" 2>/dev/null)" != "$stamp" ]; then
    say "installing the Build-Depends into a clean root of $RELEASE"
    rm -rf --one-file-system "$build_root"
    cp -a "$ROOTS/$RELEASE" "$build_root"
    # shellcheck disable=SC2016 # expanded inside
    ROOT_BIND=$work/src in_root "$build_root" sh -euc '
        apt-get update -q
        apt-get install -yq dpkg-dev
        apt-get build-dep -yq /opt/deploy' >"$build_root.log" 2>&1 ||
        die "the Build-Depends cannot be installed:" "$(tail -3 "$build_root.log")"
    echo "$stamp" >"$build_root/.built"
fi

say "building in it, twice: in different folders, in parallel and not"
ROOT_BIND=$work/src in_root --throw-away "$build_root" sh -euc "
    /opt/deploy/package/deb.sh >/dev/null
    mv /opt/build/deb/$RELEASE /opt/build/first
    TMPDIR=/var/tmp DEB_BUILD_OPTIONS='nocheck parallel=1' /opt/deploy/package/deb.sh >/dev/null
    rm -rf /opt/build/deb/$RELEASE/*.log
    diff /opt/build/first/SHA256SUMS /opt/build/deb/$RELEASE/SHA256SUMS >&2" ||
    die "the packages cannot be built from their Build-Depends, or not twice the same"
rm -rf "$OUT"
mkdir -p "$OUT"
cp "$work/src/build/first"/* "$OUT/"
say "both builds are the same, byte for byte: $OUT"

mkdir "$work/try"
cp "$OUT"/*.deb "$work/try/"
rm -f "$work/try"/*dbgsym*
cp "$PACKAGE/deb_inside.sh" "$work/try/"
mkdir "$work/try/src"
cp -r "$work/src/deploy/debian" "$work/try/src/debian"

say "installing, running and purging in a clean root of $RELEASE"
ROOT_BIND=$work/try in_root --throw-away "$ROOTS/$RELEASE" /opt/deb_inside.sh

if command -v piuparts >/dev/null; then
    say "piuparts"
    unshare --mount --pid --fork --kill-child piuparts --existing-chroot="$ROOTS/$RELEASE" --keep-sources-list \
        --distribution="$RELEASE" --warn-on-leftovers-after-purge --no-eatmydata "$work/try"/*.deb >"$OUT/piuparts.log" 2>&1 ||
        die "piuparts has something to say:" "$(grep -E 'ERROR|FAIL' "$OUT/piuparts.log" | tail -5)" "see $OUT/piuparts.log"
    grep -q "PASS: All tests" "$OUT/piuparts.log" || die "piuparts did not come to its end" "see $OUT/piuparts.log"
    say "piuparts: all tests passed"
fi
say "the packages of $RELEASE are good"
