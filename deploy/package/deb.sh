#!/bin/bash
# deb.sh [--lint]: build the Debian packages of this work tree for the release
# that this runs on, into build/deb/<release>, without network and as a user who
# may do nothing. --lint also runs lintian over all of it.
#
# Invariant: the same sources make the same packages, wherever and whenever: the
# time in them is that of the changelog, the folder is a new one each time.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

case ${1:-} in
'' | --lint) ;;
*) die "usage: deb.sh [--lint]" ;;
esac

OUT=${AEGIS_DEB_OUT:-$ROOT/build/deb/$HOST_RELEASE}
# shellcheck disable=SC1091
RELEASE_NR=$(. /etc/os-release && echo "${VERSION_ID:-}")

# The packages of each release have a version of their own, which grows with the
# release: they are built against its nginx.
name_release() {
    sed -i "1s/^\(aegis (\)\([^)]*\)) unstable;/\1\2+deb$RELEASE_NR) $HOST_RELEASE;/" "$1/debian/changelog"
    head -1 "$1/debian/changelog" | grep -qF "+deb$RELEASE_NR) $HOST_RELEASE;" ||
        die "deploy/debian/changelog: its first line is not \"aegis (VERSION) unstable; ...\""
}

install_build_deps() {
    local missing
    missing=$(cd "$1" && dpkg-checkbuilddeps 2>&1) && return
    [ "$(id -u)" = 0 ] || die "${missing#dpkg-checkbuilddeps: error: }" \
        "let root install them, once: make -C $ROOT package-deps"
    "$QS/deps.sh" --package
    (cd "$1" && dpkg-checkbuilddeps) || die "deps.sh does not install what debian/control asks for"
}

# no_network command...: as nobody when root runs this, else as oneself.
no_network() {
    local alone=
    if [ "$(id -u)" = 0 ]; then
        set -- setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs -- "$@"
        alone="unshare --net --"
    else
        alone="unshare --map-current-user --net --"
    fi
    if ! $alone true 2>/dev/null; then
        say "name spaces are not to be had here: the network stays"
        alone=
    fi
    $alone "$@"
}

command -v dpkg-buildpackage >/dev/null || [ "$(id -u)" != 0 ] || "$QS/deps.sh" --package
command -v dpkg-buildpackage >/dev/null || die "dpkg-dev is missing" "let root run: make -C $ROOT package-deps"

# no dot: nginx takes what follows one for the suffix of a source file, which may be S
work=$(mktemp -d "${TMPDIR:-/tmp}/aegis-deb-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/home"
copy_sources "$work/aegis"
cp -r "$work/aegis/deploy/debian" "$work/aegis/debian"
name_release "$work/aegis"
install_build_deps "$work/aegis"
if [ "$(id -u)" = 0 ]; then
    chown -R nobody:nogroup "$work"
fi

say "building the packages (log: $OUT/build.log)"
mkdir -p "$OUT"
rm -f "$OUT"/*.deb "$OUT"/*.dsc "$OUT"/*.tar.* "$OUT"/*.changes "$OUT"/*.buildinfo
(cd "$work/aegis" && no_network env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work/home" LANG=C.UTF-8 \
    DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-parallel=$(nproc)}" dpkg-buildpackage -us -uc) >"$OUT/build.log" 2>&1 </dev/null ||
    die "the build failed:" "$(tail -15 "$OUT/build.log")"
if grep -nE '\bwarning: ' "$OUT/build.log" | grep -v 'dpkg-[a-z]*: warning'; then
    die "the compiler warns, see $OUT/build.log"
fi
find "$work" -maxdepth 1 -type f -exec cp -t "$OUT" {} +
if [ "$(id -u)" = 0 ]; then
    chown -R "$(stat -c %u:%g "$ROOT")" "$OUT"
fi
(cd "$OUT" && sha256sum ./*.deb ./*.dsc ./*.tar.*) | sed 's| \./| |' | tee "$OUT/SHA256SUMS"

if [ "${1:-}" = --lint ]; then
    command -v lintian >/dev/null || die "lintian is missing" "let root run: make -C $ROOT package-deps"
    # all it can say down to the pedantic counts; what it calls experimental is only logged
    (cd "$work" && lintian --allow-root -EvIiL +pedantic --tag-display-limit 0 --fail-on error,warning,info,pedantic \
        ./*.changes) >"$OUT/lintian.log" 2>&1 || die "lintian has something to say:" "$(grep -E '^[EWIPX]:' "$OUT/lintian.log")"
    say "lintian has nothing to say"
fi
