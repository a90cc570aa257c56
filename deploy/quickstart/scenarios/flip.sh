# flip.sh: all traffic of an nginx goes from blue to green, tested, reloaded and seen in force
# shellcheck shell=bash disable=SC2154 # scenario.sh sets id
play() {
    local dir=$RUN/demo-gateway port was
    port=$(free_port)
    start_gateway "$dir" "$port"
    with_settings exec <<END
gateway:
  nginx: "/usr/sbin/nginx -p $dir -c $dir/nginx.conf -e $dir/error.log"
  dir: "$dir/splits"
  splits: "checkout=blue,green"
  verify_url: "http://127.0.0.1:$port/aegis/"
END
    with_policy demo-flip <<END
version: 1
rules:
  - {id: demo-flip, kind: actions, allow: [gateway.shift]}
END
    was=$(curl -sS -m 5 "http://127.0.0.1:$port/")
    [ "$was" = blue ] || die "the demo's gateway answers $was, not blue" "look at $dir/error.log"
    say "the demo's gateway on http://127.0.0.1:$port answers: $was"
    new_case "Demo: checkout goes to green" --kind change --label template=config-flip --label split=checkout \
        --label to=green --label env=staging
    follow CLOSED
    was=$(curl -sS -m 5 "http://127.0.0.1:$port/")
    [ "$was" = green ] || die "the demo's gateway answers $was, not green" "look at $dir/error.log"
    say "it answers now: $was"
    sed -n '1,8p' "$dir/splits/checkout.conf"
}

# An nginx with two upstreams and a split between them, as the executor's user.
start_gateway() {
    local dir=$1 port=$2 log=$1/start.log group
    rm -rf "$dir"
    mkdir -p "$dir/splits"
    {
        echo "pid $dir/nginx.pid; error_log $dir/error.log; worker_processes 1;"
        echo "events { worker_connections 64; }"
        echo "http { access_log off; include $dir/splits/*.conf;"
        for group in client_body proxy fastcgi uwsgi scgi; do echo "${group}_temp_path $dir/$group;"; done
        for group in blue green; do
            echo "upstream $group { server unix:$dir/$group.sock; }"
            echo "server { listen unix:$dir/$group.sock; return 200 \"$group\\n\"; }"
        done
        echo "server { listen 127.0.0.1:$port;"
        echo "  location / { proxy_pass http://\$gateway_checkout; }"
        echo "  location = /aegis/checkout { return 200 \$gateway_checkout_id; } } }"
    } >"$dir/nginx.conf"
    sed 's/gateway_shop/gateway_checkout/g; s/shop_\(blue\|green\)/\1/g; s/"shop"/"checkout"/' \
        "$ROOT/deploy/gateway/shop.conf" >"$dir/splits/checkout.conf"
    chown -R "$SVC_USER" "$dir" 2>/dev/null || true
    undo stop_gateway "$dir"
    as "$SVC_USER" /usr/sbin/nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/error.log" >"$log" 2>&1 </dev/null ||
        die "the demo's gateway does not start: $(tail -1 "$log")"
    until_ok 10 curl -sf -m 2 "http://127.0.0.1:$port/" || die "the demo's gateway does not answer" "look at $dir/error.log"
}

stop_gateway() {
    local pid
    read -r pid 2>/dev/null <"$1/nginx.pid" || return 0
    kill -s TERM "$pid" 2>/dev/null || true
    until_ok 5 is_gone "$pid" || true
    rm -rf "$1"
}
