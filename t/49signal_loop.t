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
    my @points = map { my $m = $_; map { [($end - $m * 60 + $_) * 1000, $m > 3 ? 0.01 + $m % 3 * 0.001 : 0.4] } 5, 35 } reverse 1 .. 20;
    my $r = $http->request('POST', '/api/v1/write', body => snappy(write_request([{ __name__ => 'error_rate', namespace => 'shop', service => $name }, @points])),
        headers => ['Content-Type', 'application/x-protobuf', 'Content-Encoding', 'snappy']);
    is($r->status, 204, 'the sensor takes what Prometheus would send') or diag($r->brief);
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

kill 'KILL', $processes[0] if @processes;
waitpid $processes[0], 0 if @processes;
stop_process($processes[1]) if @processes > 1;
$undo->();
kill 'HUP', $stack->pid('analyst');
$stack->finish;
done_testing;
