# shellcheck shell=bash disable=SC2094
# install.sh: the files of a running system, put into RUN: binaries, module,
# SQL, configuration, keys, ports. RUN is self-contained, because the users that
# the parts run as may not be able to look into the clone. Sourced by up.sh.

# put user mode file <content: the whole file or what it was, never half of it.
put() {
    local new=$3.new.$$
    (umask 077 && cat >"$new")
    chmod "$2" "$new"
    [ "$1" = "$(id -un)" ] || chown "$1:$(id -g "$1")" "$new"
    mv -f "$new" "$3"
}

folder() {
    [ -d "$3" ] || mkdir "$3"
    chmod "$2" "$3"
    [ "$1" = "$(id -un)" ] || chown "$1:$(id -g "$1")" "$3"
}

# Find or make RUN. When the users of the parts cannot reach RUN_DIR it is a
# link to a folder that they can.
make_run() {
    local parent
    locate_run
    if [ -L "$RUN_DIR" ] && [ ! -e "$RUN_DIR" ]; then
        rm -f "$RUN_DIR" # what it linked to is gone
    fi
    if [ -n "$RUN" ] && [ ! -e "$RUN_DIR" ]; then
        ln -s "$RUN" "$RUN_DIR"
        say "$RUN_DIR was removed: it is a link to $RUN again"
    fi
    if [ -z "$RUN" ]; then
        parent=$(dirname "$RUN_DIR")
        mkdir -p "$parent" || die "cannot make $parent" "choose another place: RUN_DIR=... make up"
        if as "$SVC_USER" test -x "$parent" && as "$PG_USER" test -x "$parent"; then
            mkdir "$RUN_DIR"
        else
            ln -s "$(mktemp -d "$LINKED.XXXXXX")" "$RUN_DIR"
            echo "$RUN_DIR" >"$RUN_DIR/run_dir"
            say "$parent is closed to the services' users: $RUN_DIR is a link to $(readlink "$RUN_DIR")"
        fi
        locate_run
    fi
    check_path "$RUN" "choose another place: RUN_DIR=... make up"
    [ -O "$RUN" ] || die "$RUN belongs to somebody else" "choose another place: RUN_DIR=... make up"
    chmod 755 "$RUN"
    as "$SVC_USER" test -x "$RUN" || die "$RUN cannot be reached by the user $SVC_USER" \
        "choose another place: RUN_DIR=... make up, or make clean-run"

    local d
    for d in bin modules conf sql secrets tls; do
        folder "$(id -un)" 755 "$RUN/$d"
    done
    for d in pid log nginx nats objects sensor; do
        folder "$SVC_USER" 755 "$RUN/$d"
    done
    folder "$PG_USER" 700 "$RUN/pg"
    folder "$PG_USER" 755 "$RUN/sock"
}

# secret name: a random secret, the same each time. Only its owner reads it.
secret() {
    [ -s "$RUN/secrets/$1" ] || openssl rand -hex 24 | put "$(id -un)" 600 "$RUN/secrets/$1"
    cat "$RUN/secrets/$1"
}

# What a running system was made from; another value asks for a restart.
stamp_now() {
    local f
    for f in "$B/aegis-worker" "$B/aegisctl" "$B/ngx_http_aegis_module.so"; do
        [ -r "$f" ] || die "$f is not built" "make${SAN:+ SAN=1} (or make up, which builds first)"
    done
    (
        cd "$ROOT" || exit 1
        echo "$SAN $ROLES $NGX_WORKERS $KAFKA_BROKERS $OTEL_ENDPOINT ${PG_EXTRA_CONF:-} ${NATS_EXTRA_CONF:-}"
        sha256sum "$B/aegis-worker" "$B/aegisctl" "$B/ngx_http_aegis_module.so"
        { find sql conf deploy/quickstart docs/openapi.json -type f 2>/dev/null || true; } | LC_ALL=C sort | xargs sha256sum
    ) | sha256sum | cut -d' ' -f1
}

# --- ports

load_ports() {
    [ -r "$RUN/ports" ] || return 1
    # shellcheck disable=SC1091 # lines of PORT_<name>=<number>
    . "$RUN/ports"
}

port_of() {
    local name=PORT_$1
    echo "${!name}"
}

# Keep the ports of last time when they are free, else take those of PORTS, else
# any; all are held open together, so that none is given twice.
choose_ports() {
    local names="HTTPS PG NATS NATS_MON" r
    for r in $ALL_ROLES all; do
        names="$names W_$r"
    done
    load_ports || true
    # shellcheck disable=SC2086 # a list of words
    for r in $names; do
        echo "$r $(v=PORT_$r && echo "${!v:-0}")"
    done | perl -MIO::Socket::INET -ne '
        BEGIN { @given = split " ", $ENV{PORTS} // "" }
        my ($name, $port) = split;
        my $s;
        for my $p ($port || shift @given || 0, shift @given // (), 0) {
            $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $p, ReuseAddr => 1) and last;
        }
        die "no free port: $!\n" unless $s;
        push @keep, $s;
        print "PORT_$name=", $s->sockport, "\n";
    ' | put "$(id -un)" 644 "$RUN/ports"
    load_ports
}

# --- binaries, SQL, configuration

install_files() {
    local f
    for f in "$B/aegis-worker" "$B/aegisctl" "$QS/supervise.sh"; do
        put "$(id -un)" 755 "$RUN/bin/$(basename "$f")" <"$f"
    done
    put "$(id -un)" 755 "$RUN/modules/ngx_http_aegis_module.so" <"$B/ngx_http_aegis_module.so"
    rm -rf "$RUN/sql" "$RUN/conf"
    cp -r "$ROOT/sql" "$RUN/sql"
    cp -r "$ROOT/conf" "$RUN/conf"
    chmod -R u=rwX,go=rX "$RUN/sql" "$RUN/conf"
    find "$RUN/conf/scripts" -type f -exec chmod 755 {} + 2>/dev/null || true
}

write_worker_conf() {
    put "$SVC_USER" 600 "$RUN/conf/aegis.yaml" <<END
# Made by deploy/quickstart/up.sh from its knobs; conf/aegis.yaml in the clone
# explains every setting. metrics.listen comes by environment, one for each role.
database:
  url: "host=127.0.0.1 port=$PORT_PG dbname=aegis user=aegis_worker password=$(secret worker)"
source: "urn:aegis:quickstart"
bus:
  nats:
    url: "nats://aegis:$(secret nats)@127.0.0.1:$PORT_NATS"
$(if [ -n "$KAFKA_BROKERS" ]; then
        printf '  kafka:\n    brokers: "%s"\n' "$KAFKA_BROKERS"
        printf '  routes:\n    - match: "evt.>"\n      transport: kafka\n    - match: ">"\n      transport: nats\n'
    fi)
gate:
  policy_file: policy.yaml
exec:
  script_dir: scripts
  object_dir: "$RUN/objects"
$(if [ -n "$OTEL_ENDPOINT" ]; then printf 'otel:\n  endpoint: "%s"\n' "$OTEL_ENDPOINT"; fi)
sensor:
  socket: "$RUN/sensor/sensor.sock"
END
}

# --- nginx

write_nginx_conf() {
    local openapi=$ROOT/docs/openapi.json
    put "$(id -un)" 644 "$RUN/conf/openapi.json" <"$openapi"
    secret cursor >/dev/null
    put "$SVC_USER" 600 "$RUN/nginx/cursor_secret" <"$RUN/secrets/cursor"
    secret gateway >/dev/null
    put "$SVC_USER" 600 "$RUN/nginx/database_password" <"$RUN/secrets/gateway"
    sed -e "s|@RUN@|$RUN|g" -e "s|@PORT@|$PORT_HTTPS|g" -e "s|@WORKERS@|$NGX_WORKERS|g" \
        -e "s|@DATABASE@|hostaddr=127.0.0.1 port=$PORT_PG dbname=aegis user=aegis_gateway|g" \
        -e "s|@OTEL@|${OTEL_ENDPOINT:+aegis_otel          $OTEL_ENDPOINT;}|g" \
        "$QS/nginx.conf.in" | put "$SVC_USER" 600 "$RUN/nginx/nginx.conf"
}

# --- identity

# token name id: an API key, the same each time: aegis_<id>_<256 bits in base64url>.
token() {
    [ -s "$RUN/secrets/$1" ] || echo "aegis_$2_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')" \
        | put "$(id -un)" 600 "$RUN/secrets/$1"
    cat "$RUN/secrets/$1"
}

# key_line token tenant principal scopes: its line of aegis_keys.
key_line() {
    local token=$1 id='' secret
    shift
    secret=$token
    case $token in aegis_*)
        id=${token#aegis_}
        id="${id%%_*} "
        secret=${token#aegis_*_}
        ;;
    esac
    echo "$id$(printf %s "$secret" | sha256sum | cut -d' ' -f1) $*"
}

make_keys() {
    {
        key_line "$(token token quickstart)" default quickstart '*'
        key_line "$(token token_other other)" other quickstart-other '*'
    } | put "$SVC_USER" 600 "$RUN/nginx/aegis_keys"
}

# A certification authority that is thrown away with the folder, and a server
# certificate of it for this machine. Made again a day before they end.
make_tls() {
    local d=$RUN/tls
    if [ -s "$d/server.pem" ] && openssl x509 -in "$d/server.pem" -noout -checkend 86400 >/dev/null; then
        return
    fi
    (
        umask 077
        cd "$d"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -keyout ca.key -out ca.pem -subj '/CN=Aegis quick start CA' \
            -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key \
            -out server.csr -subj '/CN=localhost'
        printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1' 'basicConstraints=critical,CA:FALSE' \
            'keyUsage=critical,digitalSignature' 'extendedKeyUsage=serverAuth' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile server.ext -out server.pem
        rm -f ca.key ca.srl server.csr server.ext
    ) >"$RUN/log/tls.log" 2>&1 || die "openssl failed:" "$(tail -3 "$RUN/log/tls.log")"
    chmod 644 "$d/ca.pem" "$d/server.pem"
    put "$SVC_USER" 600 "$d/server.key.svc" <"$d/server.key"
    mv "$d/server.key.svc" "$d/server.key"
    say "made a throw-away CA: $RUN_DIR/tls/ca.pem"
}
