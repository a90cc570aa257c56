#!/bin/bash
# up.sh: bring a whole Aegis up in RUN_DIR from what `make` built: PostgreSQL,
# nats-server, the workers, nginx; on free ports of 127.0.0.1, each as a user of
# its own when root runs this. A running system that is current is left alone, an
# older one is restarted; data stays. Ends when everything answers, and leaves
# RUN_DIR/aegis.env. Files are put into place by install.sh, processes here.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$QS/install.sh"

# --- PostgreSQL

admin_url() { echo "host=127.0.0.1 port=$PORT_PG dbname=$1 user=postgres password=$(secret postgres)"; }

pg() { (cd / && as "$PG_USER" "$PG_BIN/pg_ctl" -D "$RUN/pg" "$@"); }

start_postgres() {
    if [ ! -e "$RUN/pg/aegis.conf" ]; then # an initdb that did not finish counts for nothing
        say "making a PostgreSQL cluster in $RUN_DIR/pg"
        find "$RUN/pg" -mindepth 1 -delete
        secret postgres >/dev/null
        put "$PG_USER" 600 "$RUN/sock/pw" <"$RUN/secrets/postgres"
        (cd / && as "$PG_USER" "$PG_BIN/initdb" -D "$RUN/pg" -U postgres -A scram-sha-256 \
            --pwfile="$RUN/sock/pw" -E UTF8 --locale=C.UTF-8 --no-instructions \
            >"$RUN/log/initdb.log" 2>&1) || die "initdb failed: $(tail -3 "$RUN/log/initdb.log")"
        rm -f "$RUN/sock/pw"
        echo "include = 'aegis.conf'" >>"$RUN/pg/postgresql.conf"
    fi
    [ "$(cat "$RUN/pg/PG_VERSION")" = "$(basename "$(dirname "$PG_BIN")")" ] ||
        die "$RUN_DIR/pg was made by PostgreSQL $(cat "$RUN/pg/PG_VERSION")" \
            "make down && make clean-run starts afresh (and forgets its cases)"

    local socket="'$RUN/sock'"
    [ ${#RUN} -lt 80 ] || socket="''" # a socket's path is limited to 107 bytes
    put "$PG_USER" 600 "$RUN/pg/aegis.conf" <<END
# Made by deploy/quickstart/up.sh; PG_EXTRA_CONF adds lines.
listen_addresses = '127.0.0.1'
port = $PORT_PG
unix_socket_directories = $socket
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = 128MB
fsync = on
synchronous_commit = on
log_line_prefix = '%m [%p] %u@%d/%a '
timezone = 'UTC'
log_timezone = 'UTC'
${PG_EXTRA_CONF:-}
END
    [ -e "$RUN/log/postgres.log" ] || put "$PG_USER" 640 "$RUN/log/postgres.log" </dev/null
    pg -l "$RUN/log/postgres.log" -w -t 60 start >/dev/null 2>&1 </dev/null ||
        die "PostgreSQL did not start: $(tail -3 "$RUN/log/postgres.log")" "look at $RUN/log/postgres.log"
    say "PostgreSQL $(cat "$RUN/pg/PG_VERSION") is up on 127.0.0.1:$PORT_PG"
}

migrate() {
    local r
    export PGCONNECT_TIMEOUT=10
    if [ "$(psql -XAtqd "$(admin_url postgres)" -c "SELECT 1 FROM pg_database WHERE datname = 'aegis'")" != 1 ]; then
        psql -XAtqd "$(admin_url postgres)" -c 'CREATE DATABASE aegis'
        # not a trusted extension: it takes the superuser, and is used where its files are
        psql -XAtqd "$(admin_url aegis)" -c "DO \$\$ BEGIN
            IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
                CREATE EXTENSION vector SCHEMA public;
            END IF; END \$\$"
    fi
    DATABASE_URL=$(admin_url aegis) "$RUN/bin/aegisctl" db migrate --sql-dir "$RUN/sql" \
        >"$RUN/log/migrate.log" 2>&1 || die "the schema could not be brought up to date:" "$(cat "$RUN/log/migrate.log")"
    {
        echo 'ALTER DATABASE aegis OWNER TO aegis_migrator;'
        for r in migrator gateway worker reader; do
            echo "ALTER ROLE aegis_$r PASSWORD '$(secret "$r")';"
        done
    } | psql -XAtq -v ON_ERROR_STOP=1 -d "$(admin_url aegis)"
    say "the schema is current"
}

# --- nats-server

nats_ready() { curl -fsS -m 1 "http://127.0.0.1:$PORT_NATS_MON/healthz"; }

start_nats() {
    put "$SVC_USER" 600 "$RUN/nats/nats.conf" <<END
# Made by deploy/quickstart/up.sh; NATS_EXTRA_CONF adds lines.
listen: "127.0.0.1:$PORT_NATS"
http: "127.0.0.1:$PORT_NATS_MON"
server_name: "aegis-quickstart"
pid_file: "$RUN/pid/nats.pid"
log_file: "$RUN/log/nats.log"
authorization { user: "aegis", password: "$(secret nats)" }
jetstream { store_dir: "$RUN/nats/store", max_memory_store: 64MB, max_file_store: 8GB }
${NATS_EXTRA_CONF:-}
END
    (cd "$RUN" && spawn "$SVC_USER" "$RUN/log/nats.out" nats-server -c "$RUN/nats/nats.conf")
    until_ok 15 nats_ready || die "nats-server did not start: $(tail -3 "$RUN/log/nats.log" 2>/dev/null)" \
        "look at $RUN/log/nats.log and nats.out"
    say "nats-server with JetStream is up on 127.0.0.1:$PORT_NATS"
}

# --- workers

worker_ready() { curl -fsS -m 1 "http://127.0.0.1:$1/healthz"; }

start_workers() {
    local role port
    for role in $ROLES; do
        port=$(port_of "W_$role")
        (
            cd "$RUN"
            export AEGIS_METRICS_LISTEN=127.0.0.1:$port
            [ -z "$SAN" ] || export ASAN_OPTIONS="log_path=$RUN/log/asan-$role" \
                UBSAN_OPTIONS="print_stacktrace=1:log_path=$RUN/log/ubsan-$role"
            spawn "$SVC_USER" "$RUN/log/$role.log" "$RUN/bin/supervise.sh" "$RUN" "$role" \
                "$RUN/bin/aegis-worker" -c "$RUN/conf/aegis.yaml" "$role"
        )
    done
    for role in $ROLES; do
        until_ok 20 worker_ready "$(port_of "W_$role")" ||
            die "the worker $role does not answer: $(tail -2 "$RUN/log/$role.log")" "look at $RUN/log/$role.log"
    done
    [ -z "$ROLES" ] || say "the workers are up: $ROLES"
}

# --- nginx

gateway_ready() { curl -fsS -m 2 --cacert "$RUN/tls/ca.pem" "https://127.0.0.1:$PORT_HTTPS/readyz"; }

nginx_run() {
    local -a env=()
    if [ -n "$SAN" ]; then
        env=(env "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
            "ASAN_OPTIONS=detect_leaks=0:log_path=$RUN/log/asan-nginx${ASAN_EXTRA:+:$ASAN_EXTRA}"
            "UBSAN_OPTIONS=print_stacktrace=1:log_path=$RUN/log/ubsan-nginx")
    fi
    (cd "$RUN" && as "$SVC_USER" "${env[@]}" "$(command -v nginx || echo /usr/sbin/nginx)" \
        -p "$RUN/nginx" -c "$RUN/nginx/nginx.conf" -e "$RUN/log/nginx-error.log" "$@")
}

start_nginx() {
    local out=$RUN/log/nginx.out
    nginx_run -t >"$out" 2>&1 || die "nginx does not accept its configuration:" "$(cat "$out")"
    nginx_run >"$out" 2>&1 </dev/null || die "nginx did not start: $(cat "$out")" "look at $RUN/log/nginx-error.log"
    until_ok 15 gateway_ready || die "the gateway is not ready: $(curl -sS -m 2 --cacert "$RUN/tls/ca.pem" \
        "https://127.0.0.1:$PORT_HTTPS/readyz" 2>&1)" "look at $RUN/log/nginx-error.log and postgres.log"
    say "nginx is up with TLS on https://127.0.0.1:$PORT_HTTPS"
}

# --- all of it

all_alive() {
    local role
    pid_of nginx >/dev/null && pid_of nats >/dev/null && pg status >/dev/null 2>&1 || return 1
    for role in $ROLES; do
        pid_of "$role.sup" >/dev/null && worker_ready "$(port_of "W_$role")" >/dev/null 2>&1 || return 1
    done
    gateway_ready >/dev/null 2>&1
}

write_env() {
    local role metrics=
    for role in $ROLES; do
        metrics="$metrics$role=http://127.0.0.1:$(port_of "W_$role")/metrics "
    done
    put "$(id -un)" 600 "$RUN/aegis.env" <<END
AEGIS_URL=https://127.0.0.1:$PORT_HTTPS
AEGIS_CA=$RUN/tls/ca.pem
AEGIS_TOKEN=$(token token quickstart)
AEGIS_TOKEN_OTHER=$(token token_other other)
DATABASE_URL=postgresql://aegis_migrator:$(secret migrator)@127.0.0.1:$PORT_PG/aegis
DATABASE_ADMIN_URL=postgresql://postgres:$(secret postgres)@127.0.0.1:$PORT_PG/aegis
NATS_URL=nats://aegis:$(secret nats)@127.0.0.1:$PORT_NATS
NATS_MONITOR_URL=http://127.0.0.1:$PORT_NATS_MON
${KAFKA_BROKERS:+KAFKA_BROKERS=$KAFKA_BROKERS
}AEGIS_METRICS="${metrics% }"
AEGIS_CONF=$RUN/conf/aegis.yaml
AEGIS_SQL_DIR=$RUN/sql
AEGIS_RUN=$RUN
END
}

main() {
    close_inherited
    pg_bin
    if [ -L "$RUN_DIR" ] && [ ! -e "$RUN_DIR" ]; then
        "$QS/down.sh" | grep -v ' nothing ' || true # what still runs where the link led to
    fi
    make_run
    exec 9<"$RUN" # what is started must not hold the lock: it gets no 9
    flock -w 120 9 || die "another make demo or make up is at work in $RUN_DIR"
    bring_up 9<&-
}

bring_up() {
    local stamp
    stamp=$(stamp_now)
    if [ "$(cat "$RUN/stamp" 2>/dev/null)" = "$stamp" ] && load_ports && all_alive; then
        say "Aegis is running already, and current"
        return
    fi
    rm -f "$RUN/stamp"
    "$QS/down.sh" | grep -v ' nothing ' || true
    trap 'give_up' EXIT
    choose_ports
    install_files
    make_tls
    make_keys
    start_postgres
    migrate
    start_nats
    write_worker_conf
    write_nginx_conf
    start_workers
    start_nginx
    write_env
    echo "$stamp" >"$RUN/stamp"
    trap - EXIT
}

# Half a system is of no use and would be in the way of the next attempt.
give_up() {
    trap - EXIT
    say "giving up: stopping what was started"
    "$QS/down.sh" >&2 || true
    exit 1
}

main
say "up. Environment: $RUN_DIR/aegis.env, logs: $RUN_DIR/log, stop: make down"
