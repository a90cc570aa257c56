# shellcheck shell=bash disable=SC2034
# lib.sh: what the packaging scripts share: a copy of the sources as git knows
# them, and clean Debian roots to build and install in.
#
# A root is entered in mount and process name spaces of its own: what was
# mounted and what runs there ends with the command, even when it is killed.
# Invariant: which mirror is asked is read from this machine's apt when a root
# is made; nothing here names one.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/../quickstart/lib.sh"

PACKAGE=$ROOT/deploy/package
ROOTS=${AEGIS_ROOTS:-$ROOT/build/roots}
HOST_RELEASE=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
ROOT_MAX_DAYS=7 # after that a root is made anew, for its packages have aged

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 makes Debian roots, and only root may: run it as root"
}

as_git() { git -c "safe.directory=$ROOT" -C "$ROOT" "$@"; }

# copy_sources folder: the work tree without what git ignores; debian/ at its top.
copy_sources() {
    mkdir -p "$1"
    if as_git rev-parse --git-dir >/dev/null 2>&1; then
        (cd "$ROOT" && as_git ls-files -z --cached --others --exclude-standard |
            xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' -- |
            tar --null -T - -cf -) | tar -C "$1" --no-same-owner -xf -
    else
        tar -C "$ROOT" --exclude=./.git --exclude=./build --exclude=./run -cf - . | tar -C "$1" --no-same-owner -xf -
    fi
    chmod -R u=rwX,go=rX "$1"
}

# The sources of Debian's packages that this machine's apt uses, with another
# release's name: "uri release component", the release's own line first.
apt_sources() {
    local release=$1
    # shellcheck disable=SC2016 # names that apt replaces
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v from="$HOST_RELEASE" -v to="$release" '
            $1 == "Debian" && ($3 == from || index($3, from "-") == 1) {
                line = $2 " " to substr($3, length(from) + 1) " " $4
                if (!seen[line]++) print length($3), line
            }' | sort -n | cut -d' ' -f2-
}

# make_root release: ROOTS/<release>, a minimal root of that release with its
# package lists; kept for ROOT_MAX_DAYS.
make_root() {
    local release=$1 dir=$ROOTS/$1 sources mirror log
    if [ -n "$(find "$dir/.made" -mtime "-$ROOT_MAX_DAYS" 2>/dev/null)" ]; then
        return
    fi
    sources=$(apt_sources "$release")
    if [ -z "$sources" ]; then
        apt-get update -q >/dev/null 2>&1 || true
        sources=$(apt_sources "$release")
    fi
    [ -n "$sources" ] || die "this machine's apt knows no source of Debian's packages"
    mirror=${sources%% *}
    say "making a root of Debian $release in $dir"
    rm -rf --one-file-system "$dir"
    mkdir -p "$ROOTS"
    log=$ROOTS/$release.log
    unshare --mount --pid --fork --kill-child debootstrap --variant=minbase \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$release" "$dir" "$mirror" >"$log" 2>&1 || die "debootstrap failed:" "$(tail -3 "$log")"
    echo "$sources" | sed 's/^/deb /' >"$dir/etc/apt/sources.list"
    {
        apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIPv)' || true
        echo 'Acquire::Languages "none";'
        echo 'APT::Install-Recommends "false";'
    } >"$dir/etc/apt/apt.conf.d/50aegis"
    printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
    chmod 755 "$dir/usr/sbin/policy-rc.d"
    in_root "$dir" apt-get update -q >>"$log" 2>&1 || die "apt-get update failed:" "$(tail -3 "$log")"
    date -u >"$dir/.made"
}

# in_root [--throw-away] folder command...: run it there, with the network. With
# --throw-away the root is as before when it ends.
in_root() {
    local over=
    if [ "$1" = --throw-away ]; then
        over=$ROOTS/.over # in our name space only, whoever else uses it
        mkdir -p "$over"
        shift
    fi
    local dir=$1
    shift
    cp -L /etc/resolv.conf "$dir/etc/resolv.conf" 2>/dev/null || true
    # npm there trusts whom this machine trusts
    if [ -n "${NODE_EXTRA_CA_CERTS:-}" ] && [ -d "$dir/etc/ssl" ]; then
        cp -L "$NODE_EXTRA_CA_CERTS" "$dir/etc/ssl/node-ca.pem"
    fi
    # shellcheck disable=SC2016 # expanded inside
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
        DEBIAN_FRONTEND=noninteractive OVER="$over" ${CI:+CI="$CI"} ${ROOT_BIND:+ROOT_BIND="$ROOT_BIND"} \
        ${NODE_EXTRA_CA_CERTS:+NODE_EXTRA_CA_CERTS=/etc/ssl/node-ca.pem} \
        unshare --mount --pid --fork --kill-child bash -euc '
            dir=$1; shift
            mount --make-rprivate /
            if [ -n "$OVER" ]; then
                top=$OVER
                mount -t tmpfs -o mode=755 aegis "$top"
                mkdir "$top/upper" "$top/work" "$top/root"
                mount -t overlay aegis "$top/root" \
                    -o "lowerdir=$dir,upperdir=$top/upper,workdir=$top/work"
                dir=$top/root
            fi
            mount -t proc proc "$dir/proc"
            mount --rbind /sys "$dir/sys"
            mount --rbind /dev "$dir/dev"
            if [ -n "${ROOT_BIND:-}" ]; then # a folder of ours, as /opt
                mount --bind "$ROOT_BIND" "$dir/opt"
            fi
            unset OVER ROOT_BIND
            exec chroot "$dir" "$@"' -- "$dir" "$@" </dev/null
}
