#!/bin/bash
# deps.sh [--tests | --package]: install the Debian packages that are missing: as
# root with apt-get, else by saying the command. Packages' own services are not
# started: the quick start brings its own processes, and touches nothing else.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

case ${1:-} in
'' | --tests | --package) ;;
*) die "usage: deps.sh [--tests | --package]" ;;
esac

packages="gcc make libc6-dev pkg-config nginx nginx-dev libpq-dev libnats-dev librdkafka-dev
    libjansson-dev libyaml-dev libcurl4-openssl-dev libseccomp-dev libssl-dev libsystemd-dev
    libmicrohttpd-dev libprotobuf-c-dev protobuf-c-compiler libsnappy-dev libxxhash-dev zlib1g-dev
    postgresql nats-server openssl curl ca-certificates tzdata"
test_packages="libcmocka-dev perl libdbd-pg-perl libio-socket-ssl-perl libjson-xs-perl libyaml-libyaml-perl prometheus prometheus-alertmanager python3-jsonschema
    kcat git shellcheck mandoc nghttp2-client debhelper lintian"
package_packages="build-essential dpkg-dev debhelper fakeroot libcmocka-dev perl lintian debootstrap git"

# node may come from elsewhere than Debian
command -v npm >/dev/null || test_packages="$test_packages nodejs npm"

wanted=$packages
case ${1:-} in
--tests) wanted="$packages $test_packages" ;;
--package) wanted="$packages $package_packages" ;;
esac

missing=
for p in $wanted; do
    case $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true) in
    *' installed') ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || { say "all Debian packages are there"; exit 0; }

if [ ! -r /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    die "these packages (by their Debian names) are missing:$missing" \
        "install them with this system's package manager and run this again"
fi
if [ "$(id -u)" != 0 ]; then
    case ${1:-} in
    --tests) target=test-deps ;;
    --package) target=package-deps ;;
    *) target=deps ;;
    esac
    die "these Debian packages are missing:$missing" \
        "let root install them, once: make -C $ROOT $target" \
        "or: apt-get update && apt-get install -y --no-install-recommends$missing"
fi

# invoke-rc.d and deb-systemd-invoke ask policy-rc.d; 101 means: do not start.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
step() {
    say "$1"
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -15 "$log" >&2
        die "this failed: $*" "is a Debian mirror reachable? run it by hand to see more"
    fi
}
step "apt-get update" apt-get update -q
# shellcheck disable=SC2086 # a list of words
step "installing:$missing" apt-get install -yq --no-install-recommends $missing
rm -f "$log"
say "packages are installed"
