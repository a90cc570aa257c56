# 46verify.t: verification on the real parts: a Prometheus of Debian's over TLS with
# a password, filled by promtool with good, bad, empty, broken and old series; a
# server that lies; metric_1m; many verifications at once while their worker is
# killed with -9. What never passes here is what others' users saw pass.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Sql;
use Aegis::Stack;
use Aegis::Test;

skip_unless('prometheus', 'promtool');
my $stack = Aegis::Stack->shared;
my ($http, $pg) = ($stack->http, $stack->pg);
my $dir = scratch('prom');
my ($port, $lies) = (free_port(), free_port());

# --- a real Prometheus: an hour of samples, every 15 s, to now and a bit beyond
{
    my $now = int(time / 15) * 15;
    my $change = $now - 600;
    my %series = (
        'good{a="1"}' => sub ($t) { 0.01 },
        'bad{a="1"}' => sub ($t) { 0.5 },
        'bad_request{a="1"}' => sub ($t) { 100 },
        'nan{a="1"}' => sub ($t) { 'NaN' },
        'inf{a="1"}' => sub ($t) { $t % 60 ? 0.01 : '+Inf' },
        'two{a="1"}' => sub ($t) { 0.01 },
        'two{a="2"}' => sub ($t) { 0.01 },
        'old{a="1"}' => sub ($t) { $t < $now - 560 ? 0.01 : undef },
        'gaps{a="1"}' => sub ($t) { $t % 600 == 0 && $t < $now ? 0.01 : undef },
        'errors{a="1"}' => sub ($t) { 1 },
        'all{a="1"}' => sub ($t) { 100 },
        'nobody{a="1"}' => sub ($t) { 0 },
        'rose{a="1"}' => sub ($t) { $t < $change ? 100 : 150 },
    );
    my $text = '';
    my %named;
    push @{ $named{ s/\{.*//r } }, $_ for sort keys %series;
    for my $name (sort keys %named) {
        $text .= "# TYPE $name gauge\n";
        for my $s (@{ $named{$name} }) {
            for (my $t = $now - 3600; $t <= $now + 300; $t += 15) {
                my $v = $series{$s}->($t);
                $text .= "$s $v $t\n" if defined $v;
            }
        }
    }
    spew("$dir/om.txt", "$text# EOF\n");
    run_ok(['promtool', 'tsdb', 'create-blocks-from', 'openmetrics', "$dir/om.txt", "$dir/data"], timeout => 60);
    my $run = $stack->run_dir;
    spew("$dir/server.$_", slurp("$run/tls/server.$_")) for qw(pem key);
    spew("$dir/web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\nbasic_auth_users: {aegis: '"
        . crypt('let-me-in', '$2b$04$abcdefghijklmnopqrstuu') . "'}\n");
    spew("$dir/p.yml", "global: {scrape_interval: 1h}\n");
    start_process('prometheus', ['prometheus', "--config.file=$dir/p.yml", "--storage.tsdb.path=$dir/data", "--web.config.file=$dir/web.yml",
        "--web.listen-address=127.0.0.1:$port", '--storage.tsdb.retention.time=1d', '--log.level=warn']);
}
ok(wait_for('Prometheus', 60, sub { run(['curl', '-sf', '--cacert', $stack->e('AEGIS_CA'), '-u', 'aegis:let-me-in', '-o', '/dev/null',
    "https://127.0.0.1:$port/-/ready"])->{rc} eq '0' }), 'a real Prometheus is up') or BAIL_OUT('no Prometheus');

# --- and a server that lies, by the query that it is asked
spew("$dir/lies.pl", <<'END');
use v5.36; use IO::Socket::INET;
my $s = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], ReuseAddr => 1) or die;
$SIG{CHLD} = 'IGNORE';
while (my $c = $s->accept) {
    next if fork;
    my ($len, $tenant) = (0, '');
    while (defined(my $l = <$c>)) { last if $l =~ /^\r?$/; $len = $1 if $l =~ /^content-length: (\d+)/i; $tenant = $1 if $l =~ /^x-scope-orgid: (\S+)/i }
    read $c, my $q, $len;
    my $ok = sub ($r, $more = '') { qq({"status":"success",$more"data":{"resultType":"matrix","result":[$r]}}) };
    my ($status, $more, $body) = ('200 OK', '', $ok->(''));
    if ($q =~ /query=slow/) { sleep 20 }
    elsif ($q =~ /query=long/) { $body = ' ' x 5_000_000 }
    elsif ($q =~ /query=moved/) { ($status, $more) = ('302 Found', "Location: http://127.0.0.1:$ARGV[0]/\r\n") }
    elsif ($q =~ /query=warns/) { $body = $ok->('', '"warnings":["a store is away"],') }
    elsif ($q =~ /query=html/) { $body = '<html>' }
    elsif ($q =~ /query=broken/) { ($status, $body) = ('500 Oh', '{"status":"success"}') }
    elsif ($q =~ /query=tenant/) { my ($t) = $q =~ /end=([\d.]+)/; $body = $ok->(qq({"metric":{},"values":[[$t,"@{[$tenant eq 'default' ? 1 : 0]}"]]})) }
    print $c "HTTP/1.1 $status\r\nContent-Type: application/json\r\n${more}Content-Length: @{[length $body]}\r\nConnection: close\r\n\r\n$body";
    exit;
}
END
start_process('lies', [$^X, "$dir/lies.pl", $lies]);

my $password = $stack->run_dir . '/conf/prometheus.password';
spew($password, "aegis:let-me-in\n");
chown((stat $stack->run_dir . '/conf/aegis.yaml')[4, 5], $password);
my $undo = sub { };
sub ask_at ($url, %more) {
    $undo->();
    my $yaml = join '', map { "    $_: \"$more{$_}\"\n" } sort keys %more;
    $undo = $stack->conf_edit('aegis.yaml', sub ($was) { "$was\nverify:\n  prometheus:\n    url: \"$url\"\n    ca_file: \"" . $stack->e('AEGIS_CA')
        . "\"\n    timeout_ms: 1500\n    answer_max: 1000000\n$yaml" }, 'verify');
    # in force when a log line says so; until then a query has no answer and is asked again
    return;
}

# A case in VERIFYING whose change ended ten minutes ago, being verified.
my @running;
sub verifying ($name, $check, %plan) {
    my $c = Aegis::Case->create($http, mode => 'manual', title => $name)->drive('VERIFYING', plan => { verify => [$check], %plan });
    $pg->do(q{UPDATE aegis.exec_run SET started_at = now() - interval '700 s', finished_at = now() - interval '600 s' WHERE case_id = ?}, $c->id);
    my $r = $c->post('/verify/run');
    @$c{qw(title verify_id)} = ($name, $r->json->{verify_id});
    $c->{answer} = $r;
    return $c;
}
sub verdict ($c) {
    my $v;
    wait_for("$c->{title}: a verdict", 60, sub { $v = $http->get("/verify/$c->{verify_id}")->json; ($v->{state} // '') !~ /^(RUNNING|ROLLBACK|)$/ })
        or diag(json_encode($v));
    return $v;
}
my %prom = (kind => 'prometheus', op => '<=', threshold => 0.05, window_s => 300, every_s => 1, deadline_s => 2);
my %pair = (kind => 'prometheus_ratio', op => '<=', threshold => 0.05, window_s => 300, every_s => 1, deadline_s => 2, total => 'all', errors => 'errors');

# Begin all, then look how each ended: they run side by side.
sub judged (@cases) {
    my @all = map { my ($name, $check, @expect) = @$_; [verifying($name, $check), $name, @expect] } @cases;
    for (@all) {
        my ($c, $name, $outcome, $why) = @$_;
        is($c->{answer}->status, 202, "$name: it takes time");
        my $v = verdict($c);
        is($v->{outcome}, $outcome, "$name: $outcome") or diag(json_encode($v));
        like($v->{reason}, $why, "$name: and why");
        is($v->{checkpoints}[0]{passed} ? 1 : 0, $outcome eq 'pass' ? 1 : 0, "$name: passed or not is the verdict's");
        $c->wait_state($outcome eq 'pass' ? 'CLOSED' : 'PARKED');
        is($c->get->json->{status}, $outcome eq 'pass' ? 'CLOSED' : 'PARKED', "$name: the case follows");
    }
    return;
}

subtest 'a real Prometheus' => sub {
    ask_at("https://127.0.0.1:$port", password_file => 'prometheus.password');
    # a first one waits for the settings to be in force
    my $first = verifying('first', { %prom, query => 'good', deadline_s => 60, fails => 50 });
    is(verdict($first)->{outcome}, 'pass', 'it is asked over TLS with a password');
    judged(
        ['a good value', { %prom, query => 'good' }, 'pass', qr/every check holds/],
        ['a bad value', { %prom, query => 'bad' }, 'failed', qr/value avg 0\.5 is not <= 0\.05; rolled back/],
        ['all samples failed, many times allowed', { %prom, query => 'bad', fails => 100 }, 'failed', qr/0\.5 is not <= 0\.05/],
        ['an empty metric', { %prom, query => 'nothing_of_this_name' }, 'inconclusive', qr/inconclusive after \d+ s: value avg: no samples: no_data says inconclusive/],
        ['an empty metric that is to fail', { %prom, query => 'nothing_of_this_name', no_data => 'fail' }, 'failed', qr/no_data says failed/],
        ['an empty metric that may pass', { %prom, query => 'nothing_of_this_name', no_data => 'pass' }, 'pass', qr/every check holds/],
        ['NaN', { %prom, query => 'nan' }, 'inconclusive', qr/no samples with a value/],
        ['NaN that may pass when empty', { %prom, query => 'nan / nobody' }, 'inconclusive', qr/no samples/],
        ['infinite', { %prom, query => 'inf' }, 'inconclusive', qr/samples are infinite/],
        ['two series', { %prom, query => 'two' }, 'inconclusive', qr/2 series, where one was expected/],
        ['a series that ended', { %prom, query => 'old' }, 'inconclusive', qr/of 21 points are there|no samples|newest sample is/],
        ['a series with gaps', { %prom, query => 'sum(last_over_time(gaps[15s]))' }, 'inconclusive', qr/points are there|no samples|newest sample/],
        ['no PromQL', { %prom, query => 'sum(' }, 'inconclusive', qr/Prometheus refuses the query, bad_data/],
        ['a scalar', { %prom, query => 'vector(0.01)' }, 'pass', qr/every check holds/],
        ['errors of total', { %pair }, 'pass', qr/every check holds/],
        ['too few requests', { %pair, min_samples => 1_000_000 }, 'inconclusive', qr/of 1000000 samples/],
        ['no errors were ever counted', { %pair, errors => 'nothing' }, 'inconclusive', qr/no samples/],
        ['no errors were ever counted, which is zero', { %pair, errors => 'nothing', absent_errors => 'zero' }, 'pass', qr/every check/],
        ['nobody asks', { %pair, errors => 'nobody', total => 'nobody' }, 'inconclusive', qr/no samples/],
        ['availability', { %pair, measure => 'availability', op => '>=', threshold => 0.995 }, 'failed', qr/availability avg 0\.99 is not >= 0\.995/],
        ['worse than before', { %prom, query => 'rose', threshold => 1.2, baseline => { window_s => 900, compare => 'ratio' } }, 'failed',
            qr/150 is 1\.5\d* times the baseline of 100|not <= 1\.2/],
        ['not much worse than before', { %prom, query => 'rose', threshold => 60, baseline => { window_s => 900, compare => 'difference' } }, 'pass', qr/./],
        ['burning', { kind => 'prometheus_burn', errors => 'errors', total => 'all', slo => 0.999, short_s => 60, long_s => 300, factor => 5, every_s => 1 },
            'failed', qr/burns 10 over 300 s and 10 over 60 s/],
        ['burning slowly', { kind => 'prometheus_burn', errors => 'errors', total => 'all', slo => 0.999, short_s => 60, long_s => 300, factor => 14.4, every_s => 1 },
            'pass', qr/./],
    );
};

subtest 'a Prometheus that is away, refuses or lies' => sub {
    ask_at("https://127.0.0.1:$port");
    my $c = verifying('no password', { %prom, query => 'good', passes => 3, deadline_s => 4 });
    like(verdict($c)->{reason}, qr/Prometheus answered 401/, 'a refusal is no pass');
    ask_at("http://127.0.0.1:$lies", tenant_header => 'X-Scope-OrgID');
    is(verdict(verifying('which tenant', { %prom, query => 'tenant', op => '>', threshold => 0.5, min_coverage => 0, deadline_s => 30, fails => 30 }))->{outcome}, 'pass',
        'the tenant is named to it');
    my $before = time;
    judged(
        ['slow', { %prom, query => 'slow' }, 'inconclusive', qr/Prometheus was not reached: Timeout/],
        ['too long', { %prom, query => 'long' }, 'inconclusive', qr/answer of Prometheus is too long/],
        ['a redirect', { %prom, query => 'moved' }, 'inconclusive', qr/Prometheus answered 302/],
        ['a warning', { %prom, query => 'warns', no_data => 'pass' }, 'inconclusive', qr/Prometheus warns: a store is away/],
        ['no JSON', { %prom, query => 'html', no_data => 'pass' }, 'inconclusive', qr/with no JSON object/],
        ['an error that says success', { %prom, query => 'broken', no_data => 'pass' }, 'inconclusive', qr/Prometheus answered 500/],
    );
    ask_at('http://127.0.0.1:1');
    $c = verifying('away', { %prom, query => 'good', no_data => 'pass', deadline_s => 4 });
    like(verdict($c)->{reason}, qr/Prometheus was not reached/, 'one that is away is no pass');
    is($pg->one('SELECT count(*) FROM aegis.exec_run WHERE case_id = ? AND phase = ?', $c->id, 'rollback'), 0, 'what nobody knows is not rolled back');
};

subtest 'the rollback of a failed verification' => sub {
    my %check = (kind => 'metric', resource => 'urn:t:' . new_key('r'), metric => 'm', op => '<', threshold => 1, window_s => 300);
    $pg->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg) SELECT 'default', ?, 'm', t, 60, 7
        FROM generate_series(now() - interval '10 min', now(), interval '1 min') t}, $check{resource});
    my $c = verifying('rolls back', { %check }, rollback => [{ name => 'one', action => 'echo' }, { name => 'two', action => 'echo' }]);
    is($c->{answer}->status, 201, 'a verdict at once');
    ok(!$c->{answer}->json->{passed}, 'that it failed');
    $c->wait_state('PARKED');
    like($c->get->json->{reason}, qr/m avg 7 is not < 1; rolled back/, 'parked with both');
    my $v = verdict($c);
    my $run = $http->get("/exec/$v->{rollback_exec_id}")->json;
    is_deeply([map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $run->{steps} }], ['rollback 1 OK', 'rollback 2 OK'], 'its steps are recorded');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject LIKE 'evt.exec.done%'}, $c->id), 1, 'and are no second execution to anybody');
    $c = verifying('cannot', { %check }, rollback => [{ name => 'odd', action => 'script.exec', params => { script => 't-nothing.sh' } }]);
    $c->wait_state('PARKED');
    like($c->get->json->{reason}, qr/not < 1; the rollback is FAILED: rollback step 1 failed: odd/, 'a rollback that fails is said');
    $c = verifying('never', { %check }, rollback_on => 'never');
    $c->wait_state('PARKED');
    is($http->get("/verify/$c->{verify_id}")->json->{rollback_exec_id}, undef, 'a plan may say never');
    my $list = run(["$stack->{rundir}/bin/aegisctl", '--env-file', "$stack->{rundir}/aegis.env", 'verify', 'list', $c->id]);
    like($list->{out}, qr/failed +7(\.0)? +1(\.0)? /, 'aegisctl shows value and limit');
    my $show = run(["$stack->{rundir}/bin/aegisctl", '--env-file', "$stack->{rundir}/aegis.env", 'verify', 'show', $c->{verify_id}]);
    like($show->{out}, qr/state +FAILED/, 'and how it ended');
};

subtest 'who lost a verification changes nothing' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('VERIFYING', plan => { verify => [
        { kind => 'metric', resource => 'urn:none', metric => 'm', op => '<', threshold => 1, window_s => 3600 }] });
    my $id = $c->post('/verify/run')->json->{verify_id};
    wait_for('its first evaluation', 20, sub { $pg->one('SELECT evaluations FROM aegis.verify_run WHERE verify_id = ?', $id) });
    my $w = $stack->pg_as('worker');
    my $doc = json_encode({ run => { state => 'PASSED', outcome => 'pass', reason => 'mine' }, subject => 'evt.verify.pass.v1', data => { case_id => $c->id },
        checkpoint => { checkpoint_id => uuid, plan_id => uuid, passed => \1, checks => [], reason => 'mine', evaluation => 9, outcome => 'pass', final => \1 } });
    my ($r) = Aegis::Sql::call($w, 'VERIFY_STEP', { tenant => 'default', case_id => $c->id, verify_id => $id, epoch => 0, doc => $doc });
    is($r->{code}, 'fenced', 'an old epoch is told so');
    is($pg->one('SELECT state FROM aegis.verify_run WHERE verify_id = ?', $id), 'RUNNING', 'and nothing was changed');
    is($pg->one('SELECT count(*) FROM aegis.verify_checkpoint WHERE case_id = ? AND final', $c->id), 0, 'no verdict');
    is($c->post('/verify/run')->problem, 'already-exists', 'a second verification of the stay is refused');
    $c->must('force_park');
    $pg->do('UPDATE aegis.verify_run SET next_at = now() WHERE verify_id = ?', $id);
    ok(wait_for('it to be cancelled', 20, sub { $http->get("/verify/$id")->json->{state} eq 'CANCELLED' }), 'a case that has gone on cancels it');
};

subtest 'many at once, their worker killed' => sub {
    my $res = 'urn:t:' . new_key('many');
    $stack->metrics_ahead($res, 'm', 0.01, 90);
    my $n = 40;
    my @c = map { Aegis::Case->create($http, labels => { resource => $res, metric => 'm', threshold => '0.05', window_s => '6' }) } 1 .. $n;
    my $ids = join ',', map { "'$_->{id}'" } @c;
    my $state = sub ($s) { $pg->one("SELECT count(*) FROM aegis.ops_case WHERE case_id IN ($ids) AND status = '$s'") };
    ok(wait_for('all to be verified', 60, sub { $state->('VERIFYING') + $state->('CLOSED') == $n }), "$n are in VERIFYING");
    my $quick = Aegis::Case->create($http, title => 'not held up');
    ok($quick->wait_state('CLOSED'), 'a case with nothing to wait for is closed');
    cmp_ok($state->('VERIFYING'), '>', 0, 'while they wait');
    for my $round (1 .. 3) {
        my $was = $state->('CLOSED');
        my $pid = $stack->kill_worker('verify');
        $stack->wait_worker('verify', $pid);
        wait_for('it to go on', 10, sub { $state->('CLOSED') > $was || $state->('CLOSED') == $n }) if $round < 3;
    }
    ok(wait_for('all to be closed', 90, sub { $state->('CLOSED') == $n }), 'killed three times with -9, all are closed');
    is($pg->one("SELECT count(*) FROM (SELECT case_id FROM aegis.verify_checkpoint WHERE case_id IN ($ids) AND final GROUP BY 1 HAVING count(*) = 1) x"), $n, 'each by one verdict');
    is($pg->one("SELECT count(*) FROM aegis.outbox WHERE case_id IN ($ids) AND subject LIKE 'evt.verify.%' AND msg_id NOT LIKE '%nudge%'"), $n, 'said once');
    is($pg->one("SELECT count(*) FROM (SELECT verify_id FROM aegis.verify_checkpoint WHERE case_id IN ($ids) GROUP BY 1
        HAVING count(*) <> max(evaluation) OR count(DISTINCT evaluation) <> count(*)) x"), 0, 'and no evaluation was lost or doubled');
};

$undo->();
$stack->quiet;
$stack->finish(allow => [qr/exited on signal 9/]);
done_testing;
