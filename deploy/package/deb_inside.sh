#!/bin/bash
# deb_inside.sh: run by deb_test.sh inside a root that is thrown away, with the
# packages in /opt: install them beside a running nginx, look at what changed,
# remove and purge, compare every file with what was before; then the packages'
# own tests under autopkgtest.
#
# nginx has a network of its own: its default site listens on port 80.
set -euo pipefail

n=0
ok() { n=$((n + 1)) && echo "ok $n - $1"; }
bad() {
    echo "not ok - $1" >&2
    tail -20 /tmp/apt.log >&2
    exit 1
}
check() {
    local what=$1
    shift
    if "$@" >/tmp/out 2>&1; then
        ok "$what"
    else
        cat /tmp/out >&2
        bad "$what"
    fi
}
apt() { apt-get -yq "$@" >>/tmp/apt.log 2>&1 </dev/null || bad "apt-get $*"; }

# Every file of the system but logs, caches, what dpkg and apt know, and who is a user.
files() {
    find / -xdev \( -path /proc -o -path '/etc/passwd*' -o -path '/etc/group*' -o -path '/etc/shadow*' -o -path '/etc/gshadow*' \
        -o -path /sys -o -path /dev -o -path /opt -o -path /tmp -o -path /run -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg \) -prune \
        -o \( -type f -printf '%p %m %s\n' -o -type l -printf '%p -> %l\n' -o -type d -printf '%p/\n' \) |
        LC_ALL=C sort | grep -v ' /etc/ld.so.cache '
}

is_reloaded() { [ -n "$(pgrep -P "$master")" ] && [ "$(pgrep -P "$master" | sort)" != "$workers" ]; }
until_ok() {
    local end=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.1
    done
}

: >/tmp/apt.log
apt update
apt install nginx curl iproute2 procps systemd # which leaves files of its own behind
# services stay stopped, but nginx may be reloaded by what installs its modules
printf '#!/bin/sh\ncase " $* " in *" nginx "*) ;; *) exit 101 ;; esac\n' >/usr/sbin/policy-rc.d
unshare --net sleep infinity &
net="nsenter -t $! --net"
is_apart() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
# before that it would be our own network that is set up
until_ok 30 is_apart $! || bad "nginx gets no network of its own"
$net ip link set lo up
$net nginx
master=$(cat /run/nginx.pid)
workers=$(pgrep -P "$master" | sort)
files >/tmp/before
cat /etc/passwd /etc/group >/tmp/users

apt install /opt/*.deb
check "the dependency on nginx's ABI is there" sh -c "dpkg -s libnginx-mod-http-aegis | grep -q '^Depends:.*nginx-abi-'"
check "the module is enabled" test -e /etc/nginx/modules-enabled/50-mod-http-aegis.conf
check "nginx takes its configuration" nginx -t
check "the running nginx was reloaded" until_ok 10 is_reloaded
check "and has loaded the module" grep -q ngx_http_aegis_module.so "/proc/$master/maps"
check "its own site answers as before" $net curl -fsS http://127.0.0.1/
check "nothing of Aegis is open" sh -c "! $net curl -fsS http://127.0.0.1/livez"
check "the example site needs no change to be taken but files" sh -c '
    mkdir -p /etc/aegis
    touch /etc/aegis/keys; echo 0123456789abcdef0123456789abcdef >/etc/aegis/cursor.secret
    cp /usr/share/doc/libnginx-mod-http-aegis/examples/aegis-site.conf /etc/nginx/sites-enabled/aegis
    sed -i "/ssl_certificate/d; s/ ssl;/;/" /etc/nginx/sites-enabled/aegis
    nginx -t; rc=$?; rm -r /etc/nginx/sites-enabled/aegis /etc/aegis; exit $rc'

rm /etc/nginx/modules-enabled/50-mod-http-aegis.conf
apt install --reinstall /opt/libnginx-mod-http-aegis_*.deb
check "who disabled the module keeps it disabled" test ! -e /etc/nginx/modules-enabled/50-mod-http-aegis.conf
ln -s /usr/share/nginx/modules-available/mod-http-aegis.conf /etc/nginx/modules-enabled/50-mod-http-aegis.conf

apt remove libnginx-mod-http-aegis
check "removed, it is not loaded" test ! -e /etc/nginx/modules-enabled/50-mod-http-aegis.conf
check "its configuration stays" test -e /etc/nginx/snippets/aegis_gateway.conf
check "nginx takes its configuration without it" nginx -t
apt purge --autoremove libnginx-mod-http-aegis aegis-common aegis-workers aegisctl
files >/tmp/after
check "purged, every file is as before" diff /tmp/before /tmp/after
check "of users and groups its own alone are left" sh -c '
    cat /etc/passwd /etc/group | diff /tmp/users - | grep "^[<>]" >/tmp/left
    grep -q "^> aegis:" /tmp/left && ! grep -vE "^> aegis(-ingest)?:" /tmp/left'
nginx -s quit
check "nginx stops" until_ok 10 test ! -e /run/nginx.pid
$net nginx
check "and starts again" $net curl -fsS http://127.0.0.1/
nginx -s quit
until_ok 10 test ! -e /run/nginx.pid

apt install autopkgtest
rc=0
(cd /opt/src && autopkgtest --quiet --ignore-restrictions=isolation-container /opt/*.deb /opt/src -- null) >/tmp/autopkgtest.log 2>&1 || rc=$?
grep -E '^(ok|not ok) |PASS|FAIL|SKIP' /tmp/autopkgtest.log || true
[ "$rc" = 0 ] || { tail -60 /tmp/autopkgtest.log >&2; bad "autopkgtest: $rc"; }
ok "autopkgtest"
echo "1..$n"
