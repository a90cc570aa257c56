# 49signal_loop.t: telemetry comes in, errors rise, a finding opens a case, its plan
# quotes the runbook, the repair runs, the verifier closes it. Nothing is typed.
# Time is the data's: Prometheus' wire form says past minutes, and the minute after
# the repair is put where the sensor would put it. With AEGIS_T_FULL=1 a stock
# Prometheus scrapes a service all the time, in real time (about seven minutes).
use v5.36;
use lib 't/lib';
use Test::More;
use IO::Socket::INET;
use POSIX ();
use Aegis::Case;
use Aegis::Otelcol;
use Aegis::Proto qw(snappy write_request);
use Aegis::Stack;
use Aegis::Test;

my $full = $ENV{AEGIS_T_FULL};
my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $name = new_key('pay');
my $res = "urn:k8s:svc:shop/$name";
plan skip_all => 'needs Debian\'s prometheus' if $full && !have('prometheus');

# A minute that goes on while the rest is done; its row says itself when it was committed.
# Who stops the sensor meanwhile has the minute written before its end: the next one is sent, then.
my $ticked = 0;
my $minute = sub {
    if ($ticked != int(time / 60)) {
        $http->request('POST', '/api/v1/write', body => snappy(write_request([{ __name__ => 'tick', namespace => 'shop', service => $name }, [time * 1000, 1]])),
            headers => ['Content-Type', 'application/x-protobuf', 'Content-Encoding', 'snappy'])->status == 204 or return;
        $ticked = int(time / 60);
    }
    return $pg->one(q{SELECT min(extract(epoch FROM pg_xact_commit_timestamp(xmin) - bucket) - 60) FROM aegis.metric_1m
        WHERE resource = ? AND metric = 'tick' AND pg_xact_commit_timestamp(xmin) > bucket + interval '1 minute'}, $res);
};
$minute->();

# What is known before: a runbook, and how the operators want such a repair verified.
my $doc = $http->write('POST', '/kb/ingest', { source => "runbook/$name", category => 'runbook',
    body => "# error_rate of $name is high\n\nThe payment service $name keeps stale connections. Restart $name and watch its error_rate.\n" })->json->{doc_id};
ok(wait_for('the runbook to be read', 30, sub { $http->get("/kb/doc/$doc")->json->{state} eq 'READY' }), 'a runbook is there');
my $window = $full ? 180 : 1;      # a minute is written after its end: three to hold one
my $undo = $stack->conf_edit('detectors.yaml', sub ($text) {
    return $text . qq{  - {name: $name, resource: "$res", labels: {env: staging, window_s: "$window"}}\n} }, 'analyst');
my $rules = () = slurp($stack->run_dir . '/conf/detectors.yaml') =~ /^ +- \{?name:/mg;
ok(wait_for('the rule', 30, sub { $stack->metric('analyst', 'aegis_analyst_rules') == $rules }), 'the rule is in force');

my $began;
my @processes;

# A service whose errors rise when $dir/bad is there, and fall with $dir/repaired.
sub serve ($port, $dir) {
    my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 16, ReuseAddr => 1) or POSIX::_exit(1);
    while (my $c = $l->accept) {
        while (defined(my $line = <$c>)) { last if $line =~ /^\r?\n\z/ }
        my $v = -e "$dir/bad" && !-e "$dir/repaired" ? 0.4 : 0.01;
        my $body = qq(# TYPE error_rate gauge\nerror_rate{namespace="shop",service="$name"} $v\n);
        print $c "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
        close $c;
    }
}

sub attr (%a) { return [ map { { key => $_, value => { stringValue => $a{$_} } } } sort keys %a ] }

# The service as an SDK reports it: its gauge, lines of its log, and its calls to a bank.
sub through_a_collector ($otelcol, $end, @points) {
    my $of = { attributes => attr('k8s.namespace.name', 'shop', 'service.name', $name) };
    my $bank = { attributes => attr('k8s.namespace.name', 'shop', 'service.name', "$name-bank") };
    my $ns = sub ($ms) { return sprintf '%d000000', $ms };
    my %say = (
        metrics => { resourceMetrics => [{ resource => $of, scopeMetrics => [{ scope => {}, metrics => [{ name => 'error_rate',
            gauge => { dataPoints => [ map { { timeUnixNano => $ns->($_->[0]), asDouble => $_->[1] } } @points ] } }] }] }] },
        logs => { resourceLogs => [{ resource => $of, scopeLogs => [{ scope => {}, logRecords => [ map { { timeUnixNano => $ns->($_->[0]),
            severityText => 'INFO', body => { stringValue => "payment $_->[0] was sent to the bank" } } } @points ] }] }] },
        traces => { resourceSpans => [ map { my ($who, $kind) = @$_; { resource => $who, scopeSpans => [{ scope => {}, spans => [ map { {
            traceId => sprintf('%032x', $_->[0]), spanId => sprintf('%016x', $_->[0] * 4 + $kind), name => 'pay', kind => $kind,
            ($kind == 2 ? (parentSpanId => sprintf('%016x', $_->[0] * 4 + 3)) : ()), startTimeUnixNano => $ns->($_->[0]), endTimeUnixNano => $ns->($_->[0] + 40),
            status => { code => $_->[1] > 0.1 ? 2 : 0 } } } @points ] }] } } [$of, 3], [$bank, 2] ] });
    is($otelcol->say_otlp($_, $say{$_}), 200, "the service sends $_ to the Collector") for sort keys %say;
    for (['minutes of the metric', 20, 'SELECT count(*) FROM aegis.metric_1m WHERE resource = ?'],
        ['lines of its log', scalar @points, 'SELECT sum(count) FROM aegis.log_pattern_5m WHERE resource = ?'],
        ['calls of the bank', scalar @points, 'SELECT sum(calls) FROM aegis.service_call_5m WHERE caller = ?'])
    {
        my ($what, $n, $sql) = @$_;
        my $got;
        ok(wait_for($what, 90, sub { ($got = $pg->one($sql, $res) // 0) >= $n }), "the Collector sends $n $what on");
        is($got, $n, 'each once');
    }
    unlike($otelcol->log, qr/\t(?:error|warn)\t/, 'and complains of nothing') or diag($otelcol->log);
    $otelcol->stop;
}

my $dir = scratch('prometheus');
if ($full) {
    my ($port, $pport) = (free_port(), free_port());
    my ($url, $ca, $token) = map { $stack->e($_) } qw(AEGIS_URL AEGIS_CA AEGIS_TOKEN);
    spew("$dir/key", $token);
    spew("$dir/p.yml", "global: {scrape_interval: 5s}\nscrape_configs: [{job_name: shop, static_configs: [{targets: ['127.0.0.1:$port']}]}]\n"
        . "remote_write: [{url: '$url/api/v1/write', tls_config: {ca_file: '$ca'}, authorization: {credentials_file: '$dir/key'}, queue_config: {batch_send_deadline: 1s}}]\n");
    my $pid = fork // die "fork: $!";
    if (!$pid) { serve($port, $dir); POSIX::_exit(0) }
    Aegis::Test::at_end(sub { kill 'KILL', $pid });
    @processes = ($pid, start_process('prometheus', ['prometheus', "--config.file=$dir/p.yml", "--storage.tsdb.path=$dir/tsdb", "--web.listen-address=127.0.0.1:$pport"], log => "$dir/p.log"));
    ok(wait_for('two quiet minutes', 240, sub { $pg->one(q{SELECT count(*) >= 2 FROM aegis.metric_1m WHERE resource = ? AND metric = 'error_rate'}, $res) }), 'Prometheus sends')
        or diag(slurp("$dir/p.log"));
    $began = time;
    spew("$dir/bad", '');
}
else {
    my $end = time;
    $end -= $end % 60;
    $began = $end - 3 * 60;
    my $otelcol = Aegis::Otelcol::binary() && Aegis::Otelcol->into($stack);
    my @points = map { my $m = $_; map { [($end - $m * 60 + $_) * 1000, $m > 3 ? 0.01 + $m % 3 * 0.001 : 0.4] } 5, 35 } reverse 1 .. 20;
    through_a_collector($otelcol, $end, @points) if $otelcol;
    my $r = $otelcol ? undef : $http->request('POST', '/api/v1/write', body => snappy(write_request([{ __name__ => 'error_rate', namespace => 'shop', service => $name }, @points])),
        headers => ['Content-Type', 'application/x-protobuf', 'Content-Encoding', 'snappy']);
    is($r->status, 204, 'the sensor takes what Prometheus would send') or diag($r->brief) if $r;
}

my $f;
ok(wait_for('a finding', 300, sub { $f = $pg->row('SELECT *, extract(epoch FROM at) AS epoch FROM aegis.finding WHERE resource = ?', $res) }), 'errors rise: a finding is there')
    or BAIL_OUT('no finding');
cmp_ok($f->{epoch} - $began, '<=', 120, sprintf('%d s of data time after they began', $f->{epoch} - $began));
is("$f->{decision} $f->{metric}", 'opened error_rate', "it opened a case: $f->{title}");
my $case = bless { http => $http, id => $f->{case_id} }, 'Aegis::Case';
ok(wait_for('the case', 30, sub { $case->get->status == 200 }), 'which is there');
if ($full) {
    $case->wait_state('VERIFYING', 120);
    spew("$dir/repaired", '');
}
else {
    $pg->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95, series)
        SELECT 'default', ?, 'error_rate', t, 60, 0.01, 0.01, 0.01, (SELECT max(series) FROM aegis.metric_1m WHERE resource = ?)
          FROM generate_series(now(), now() + interval '40 s', interval '50 ms') t}, $res, $res);
}
my $closed = $case->wait_state(['CLOSED', 'PARKED'], $full ? 900 : 60);
is($closed && $closed->{status}, 'CLOSED', 'the verifier closes it') or diag(json_encode($closed // {}));
is(join(' ', map { $_->{event} } grep { $_->{kind} ne 'note' } $case->timeline),
    'create start_analysis analysis_done plan_ready gate_approved exec_done verify_pass', 'it went through every module');
my $plan = $http->get("/plan/$closed->{plan_id}")->json->{plan};
like($plan->{notes} // '', qr/\(kb:\Q$doc\E\@\d+#\d+\)/, 'the plan quotes the runbook, with its locator');
is($pg->one(q{SELECT count(*) FROM aegis.exec_run WHERE case_id = ? AND state = 'DONE'}, $case->id), 1, 'the repair ran');
is($pg->one(q{SELECT count(*) FROM aegis.case_timeline WHERE case_id = ? AND principal !~ '^aegis:'}, $case->id), 0, 'nobody\'s hand was in it');
like($pg->one('SELECT string_agg(ref, chr(10)) FROM aegis.evidence_link WHERE case_id = ? AND event_id = ?', $case->id, $f->{finding_id}),
    qr{^metric_1m:\Q$res\E/error_rate\@}m, 'evidence leads to the rows');

# 10 s are promised; a machine on which everything else is tested meanwhile has thrice as long
my $late = wait_for('the minute\'s end', 200, $minute);
cmp_ok($late // 'inf', '<=', 30, sprintf('a minute\'s aggregates were committed %.1f s after its end', $late // -1));

kill 'KILL', $processes[0] if @processes;
waitpid $processes[0], 0 if @processes;
stop_process($processes[1]) if @processes > 1;
$undo->();
kill 'HUP', $stack->pid('analyst');
$stack->finish;
done_testing;
