# shellcheck shell=sh
# lib.sh: an nginx with the packaged module and the packaged example site, on a
# free port of 127.0.0.1, in a folder of its own; and one way to ask it.

set -eu

T=${AUTOPKGTEST_TMP:-$(mktemp -d)}
CASES=0

# perl is there (perl-base is essential); the port is free now, and ours in a moment
PORT=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')

# start_nginx conninfo keys cursor-secret
start_nginx() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$T/tls.key" -out "$T/tls.pem" 2>/dev/null
    sed -e '/listen \[::\]/d' -e "s|listen 443|listen 127.0.0.1:$PORT|" \
        -e "s|aegis_database .*;|aegis_database \"$1\";|" -e "s|/etc/aegis/keys|$2|" \
        -e "s|/etc/aegis/cursor.secret|$3|" -e "s|/etc/ssl/certs/aegis.pem|$T/tls.pem|" \
        -e "s|/etc/ssl/private/aegis.key|$T/tls.key|" -e "s|/var/log/nginx/aegis.log|$T/access.log|" \
        "$(example)" >"$T/site.conf"
    ln -sfn /etc/nginx/snippets "$T/snippets"
    cat >"$T/nginx.conf" <<END
include /etc/nginx/modules-enabled/*.conf;
pid $T/nginx.pid;
error_log $T/error.log notice;
$([ "$(id -u)" != 0 ] || echo "user www-data;")
events {}
http {
    client_body_temp_path $T/body;
    proxy_temp_path       $T/proxy;
    fastcgi_temp_path     $T/fastcgi;
    scgi_temp_path        $T/scgi;
    uwsgi_temp_path       $T/uwsgi;
    include $T/site.conf;
}
END
    [ "$(id -u)" != 0 ] || chmod 755 "$T"
    nginx -t -q -c "$T/nginx.conf" -e "$T/error.log"
    nginx -c "$T/nginx.conf" -e "$T/error.log"
    trap stop_nginx EXIT
}

stop_nginx() {
    trap - EXIT
    if [ -s "$T/nginx.pid" ]; then
        pid=$(cat "$T/nginx.pid")
        kill -QUIT "$pid"
        # its workers write out the logs before they end, and it ends after them
        timeout 20 tail --pid="$pid" -f /dev/null
    fi
    if grep -E '\[(alert|emerg|crit)\]' "$T/error.log"; then
        echo "not ok: nginx's error log has an alert" >&2
        exit 1
    fi
}

example() {
    for f in /usr/share/doc/libnginx-mod-http-aegis/examples/aegis-site.conf*; do
        echo "$f"
    done
}

# ask path [options of curl]: the status; $T/head and $T/answer have the rest.
ask() {
    path=$1
    shift
    curl -sS -m 20 --cacert "$T/tls.pem" -D "$T/head" -o "$T/answer" -w '%{http_code}' "$@" "https://127.0.0.1:$PORT$path"
}

# is what got wanted
is() {
    CASES=$((CASES + 1))
    if [ "$2" != "$3" ]; then
        echo "not ok $CASES - $1: got \"$2\", wanted \"$3\"" >&2
        cat "$T/head" "$T/answer" "$T/error.log" >&2 || true
        exit 1
    fi
    echo "ok $CASES - $1"
}

# field name: a member of the answer, which is one line of JSON.
field() { sed -n "s/.*\"$1\" *: *\"\{0,1\}\([^\",}]*\).*/\1/p" "$T/answer" | head -1; }

header() { tr -d '\r' <"$T/head" | sed -n "s/^$1: //Ip"; }

# until_is seconds wanted path: ask until the status is that.
until_is() {
    end=$(($(date +%s) + $1))
    while got=$(ask "$3" || true) && [ "$got" != "$2" ] && [ "$(date +%s)" -lt "$end" ]; do
        sleep 0.1
    done
    is "$3 becomes $2" "$got" "$2"
}
