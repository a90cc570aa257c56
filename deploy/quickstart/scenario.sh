# shellcheck shell=bash
# scenario.sh: what a scenario of make demo finds, beside lib.sh. A scenario is
# scenarios/<name>.sh: its first line is "# <name>.sh: <sentence>", which
# `make demo SCENARIO=list` shows, and it defines play(). play() runs when the system
# is up, leaves the case that matters in $id, and dies when anything is not as it
# says. aegis.env is loaded. What it changes in $RUN it puts back by undo().

# shellcheck disable=SC2034 # read by demo.sh
id=

list_scenarios() {
    local f
    for f in "$QS/scenarios/"*.sh; do
        sed -n '1s/^# \(.*\)\.sh: \(.*\)$/\1\t\2/p' "$f"
    done | expand -t 20
}

# Before anything is installed or built.
check_scenario() {
    case $1 in *[!a-z0-9-]* | -*) ;; *) [ ! -r "$QS/scenarios/$1.sh" ] || return 0 ;; esac
    die "there is no scenario \"$1\"; there are:" "$(list_scenarios | sed '2,$s/^/     /')"
}

ctl() { "$RUN/bin/aegisctl" --env-file "$RUN/aegis.env" "$@"; }

# api METHOD PATH [BODY]: a request as the quick start's principal, or as whose
# token is in API_TOKEN; the body of the answer. An answer of 400 and more fails.
api() {
    local -a body=()
    [ $# -lt 3 ] || body=(-H 'Content-Type: application/json' -d "$3")
    curl -sS --fail-with-body -m 30 --cacert "$AEGIS_CA" -X "$1" "$AEGIS_URL$2" \
        -H "Authorization: Bearer ${API_TOKEN:-$AEGIS_TOKEN}" -H "Idempotency-Key: demo-$EPOCHREALTIME-$RANDOM" "${body[@]}"
}

# The example runbooks, so that plans can quote one; there already after the first time.
learn() {
    ctl kb ingest "$ROOT/conf/kb" --category runbook --wait 10 2>/dev/null >&2 ||
        die "the example runbooks were not read" "$RUN/bin/aegisctl --env-file $RUN/aegis.env kb list"
    say "the example runbooks of conf/kb are in the knowledge base"
}

# quotes case: the first passage that its plan quotes, if any.
quotes() {
    local plan text
    plan=$(api GET "/case/$1" | grep -o '"plan_id":"[^"]*' | cut -d'"' -f4) || return 0
    [ -n "$plan" ] || return 0
    text=$(api GET "/plan/$plan" | grep -o 'From the knowledge base:.n.1. [^"]*' | head -1 | cut -c 28-220) || return 0
    [ -z "$text" ] || say "the plan quotes $text…"
}

# new_case title [options of aegisctl case create]: sets id.
new_case() {
    say "creating a case: $1"
    id=$(ctl case create "$@" --tag demo --reason "make demo" --quiet) || die "the case was not created"
    say "case $id"
}

# follow state [seconds]: show the transitions of $id up to the one into state.
follow() {
    local rc=0
    echo
    echo "time (UTC)       since start   from        to         event           rule     who: why"
    ctl case watch "$id" --until "$1" --for "${2:-60}" --interval-ms 50 || rc=$?
    [ "$rc" = 0 ] || die "the case did not reach $1 (exit code $rc)" \
        "$RUN/bin/aegisctl --env-file $RUN/aegis.env doctor" "logs: $RUN/log"
}

# measure resource value: what a sensor would write: an error rate in metric_1m, for a
# minute from now on.
measure() {
    psql -XAtq -v ON_ERROR_STOP=1 -v r="$1" -v x="$2" "$DATABASE_ADMIN_URL" >/dev/null <<'SQL'
INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
SELECT 'default', :'r', 'error_rate', t, 60, :'x', :'x', :'x'
  FROM generate_series(now(), now() + interval '1 min', interval '250 ms') t;
SQL
}

# undo command...: run it when the demo ends, however it ends; the last one first.
undone=
undo() {
    undone="${*@Q}; $undone"
    # shellcheck disable=SC2064 # what is to be undone now
    trap "$undone" EXIT
}

# reload role: let it read its configuration again.
reload() {
    kill -s HUP "$(pid_of "$1")" || die "the worker $1 does not run"
}

# A port that is free now.
free_port() {
    perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# with_settings role: more settings of the workers, on stdin, until the demo ends.
with_settings() {
    local file=$RUN/conf/aegis.yaml
    cp -p "$file" "$file.before"
    undo restore_settings "$1"
    cat >>"$file"
    take_settings "$1" || die "the worker $1 did not take the settings" "look at $RUN/log/$1.log"
}

restore_settings() {
    mv "$RUN/conf/aegis.yaml.before" "$RUN/conf/aegis.yaml"
    take_settings "$1" || true
}

# take_settings role: it has read them again when its log says so once more.
take_settings() {
    local n
    n=$(reloads "$1")
    reload "$1"
    until_ok 15 more_reloads "$1" "$n"
}

reloads() { grep -c '"event":"reloaded"' "$RUN/log/$1.log" || true; }
more_reloads() { [ "$(reloads "$1")" -gt "$2" ]; }

# in_force word: is it in the policy by which the gate judges now?
in_force() {
    [ "$(psql "$DATABASE_URL" -AtXc "SELECT body::text LIKE '%$1%' FROM aegis.gate_policy ORDER BY revision DESC LIMIT 1")" = t ]
}

# with_policy word: the policy on stdin, which has that word, until the demo ends.
with_policy() {
    local file=$RUN/conf/policy.yaml
    cp -p "$file" "$file.before"
    undo restore_policy "$1"
    cat >"$file"
    reload gate
    until_ok 15 in_force "$1" || die "the gate did not take the policy" "look at $RUN/log/gate.log"
}

restore_policy() {
    mv "$RUN/conf/policy.yaml.before" "$RUN/conf/policy.yaml"
    reload gate
    until_ok 15 not_in_force "$1" || true
}

not_in_force() { ! in_force "$1"; }

# second_person name scopes: another principal of the tenant, until the demo ends;
# $person is a file with its token.
person=
second_person() {
    local keys=$RUN/nginx/aegis_keys line
    person=$RUN/secrets/demo-$1
    cp -p "$keys" "$keys.before"
    undo forget_person
    line=$( (umask 077 && "$RUN/bin/aegisctl" key new "demo-$1" default "$1" "$2" >"$person") 2>&1) ||
        die "no key could be made: $line"
    echo "$line" >>"$keys"
    kill -s HUP "$(pid_of nginx)"
    until_ok 15 ctl gate list --token-file "$person" || die "nginx did not take the key of $1"
}

forget_person() {
    mv "$RUN/nginx/aegis_keys.before" "$RUN/nginx/aegis_keys"
    rm -f "$person"
    kill -s HUP "$(pid_of nginx)"
}

# with_kubernetes deployment...: an executor that may touch them, each of three
# replicas, in the namespace shop of a Kubernetes API, until the demo ends. The API is
# the stand-in of the tests, which 43kube_standin.t holds to recordings of the real
# one: what a workload says of itself is as there, and no container runs.
kube=
with_kubernetes() {
    kube=$RUN/demo-kube
    rm -rf "$kube"
    mkdir -p "$kube"
    setpriv --pdeathsig TERM -- perl "$ROOT/t/k8s/stand_in.pl" "$kube" "$@" >"$kube/log" 2>&1 </dev/null &
    undo stop_kubernetes $!
    until_ok 30 kubernetes_ready $! || true
    [ -s "$kube/server" ] ||
        die "the stand-in for Kubernetes does not start: $(head -1 "$kube/log")" \
            "it needs the packages of the tests: make -C $ROOT test-deps"
    chmod -R go+rX "$kube/account"
    with_settings exec <<END
k8s:
  server: "$(cat "$kube/server")"
  account_dir: "$kube/account"
  namespaces: shop
  images: registry.example.com/shop
END
    with_policy demo-k8s <<END
version: 1
rules:
  - {id: demo-k8s, kind: actions, allow: [k8s.scale, k8s.rollout_restart, k8s.set_image, k8s.rollback]}
END
    say "a stand-in for a Kubernetes API listens on $(cat "$kube/server"); no container runs"
}

# There, or it will never be.
kubernetes_ready() { [ -s "$kube/server" ] || is_gone "$1"; }

stop_kubernetes() {
    kill -s TERM "$1" 2>/dev/null || true
    until_ok 5 is_gone "$1" || true
    rm -rf "$kube"
}

# workload name: what the API says of a deployment, in one line.
workload() {
    curl -sS -m 10 --cacert "$kube/ca.crt" -H "Authorization: Bearer admin-token" \
        "$(cat "$kube/server")/apis/apps/v1/namespaces/shop/deployments/$1" | perl -MJSON::PP -0777 -ne '
        my $d = decode_json($_);
        my $t = $d->{spec}{template};
        print join(", ", "$d->{spec}{replicas} replicas wanted", ($d->{status}{availableReplicas} // 0) . " available",
            "image $t->{spec}{containers}[0]{image}", "generation $d->{metadata}{generation}",
            $t->{metadata}{annotations}{"kubectl.kubernetes.io/restartedAt"} ? "restarted" : ()), "\n"'
}

# shows name pattern: the API says so of the deployment, or the demo has failed.
shows() {
    local line
    line=$(workload "$1")
    case $line in
    *$2*) say "$1: $line" ;;
    *) die "$1 is not as it should be: $line" "look at $RUN/log/exec.log" ;;
    esac
}
