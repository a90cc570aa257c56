# 48sensor.t: telemetry on every path that senders know: what it becomes in the tables,
# each sender's form of an answer, repeats, what is late, bad, too large or from
# nobody, a backlog and a limit that are full, a sensor killed with -9 between answers.
use v5.36;
use lib 't/lib';
use Test::More;
use Compress::Zlib ();
use Time::HiRes ();
use Aegis::Proto qw(varint bytes_field int_field sint_field double_field fixed_field snappy write_request write_request2 native_request push_request);
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $n = 0;
my $unique = substr new_key(), -8;
sub ms { return int(Time::HiRes::time() * 1000) }

sub post ($path, $type, $body, @headers) {
    return $http->request('POST', $path, body => $body, headers => ['Content-Type', $type, @headers]);
}
sub prw ($body, @h) { return post('/api/v1/write', 'application/x-protobuf', snappy($body), 'Content-Encoding', 'snappy', @h) }
sub minute ($t) { return $t - $t % 60000 }
sub row ($metric, $t) {
    return $pg->row(q{SELECT samples, avg, max, p95, labels::text AS labels, resource, series FROM aegis.metric_1m
        WHERE metric = ? AND bucket = to_timestamp(?)}, $metric, minute($t) / 1000);
}

# A minute that has ended: what is of it is written with the next fold.
my $past = minute(ms()) - 120_000;
sub is_spread ($metric, $want) {
    my $got = row($metric, $past);
    return is($got, undef, "$metric says nothing") unless $want;
    my ($samples, $avg, $max, $p95, $off) = @$want;
    return ok($got && $got->{samples} == $samples && abs($got->{avg} - $avg) <= abs($avg) / 20 && abs($got->{max} - $max) < 1e-6 && abs($got->{p95} - $p95) <= $off, "$metric: samples, avg, max, p95")
        || diag(json_encode($got));
}

subtest 'remote write' => sub {
    my %l = (__name__ => "cpu_$unique", namespace => 'shop', service => 'web', pod => 'web-1');
    my $body = write_request([\%l, map { [$past + $_ * 1000, $_ + 1] } 0 .. 19]);
    my $r = prw($body);
    is($r->status, 204, 'version 1 is taken') or diag($r->brief);
    is(prw($body)->status, 204, 'sent again: the same answer');
    is(prw(write_request([\%l, [$past + 5000, 6], [$past + 30_000, 100]]))->status, 204, 'a sample that was there, and a later one');

    my %m = (__name__ => "mem_$unique", job => 'node', instance => 'h:1');
    $r = post('/api/v1/write', 'application/x-protobuf;proto=io.prometheus.write.v2.Request', snappy(write_request2([\%m, [$past, 7], [$past + 1, 9]])),
        'Content-Encoding', 'snappy', 'X-Prometheus-Remote-Write-Version', '2.0.0');
    is($r->status, 204, 'version 2 is taken') or diag($r->brief);
    is($r->header('x-prometheus-remote-write-samples-written'), 2, 'and says how many samples');

    $r = prw(write_request([{ __name__ => "old_$unique" }, [$past - 90_000_000, 1]], [{ __name__ => "cpu2_$unique" }, [$past, 1]]));
    is($r->status, 400, 'what is too old is refused, so that the sender says so');
    like($r->body, qr/in the past/, 'with the reason, as text');
    $r = prw(write_request([{ __name__ => "new_$unique" }, [$past + 90_000_000, 1]]));
    like($r->body, qr/in the future/, 'so is the far future');
    is(prw(write_request([{ __name__ => "c_${unique}_total", service => 'web' }, [$past, 10], [$past + 10_000, 30]]))->status, 204, 'a counter');
};

subtest 'OTLP' => sub {
    my $kv = sub ($k, $v) { bytes_field(1, $k) . bytes_field(2, bytes_field(1, $v)) };
    my $resource = bytes_field(1, bytes_field(1, $kv->('service.name', 'web')) . bytes_field(1, $kv->('service.namespace', 'shop')));
    my $metrics = bytes_field(1, $resource . bytes_field(2, bytes_field(2, bytes_field(1, "lat_$unique")
        . bytes_field(5, bytes_field(1, fixed_field(3, $past * 1_000_000) . double_field(4, 2.5))))));
    my $r = post('/v1/metrics', 'application/x-protobuf', $metrics);
    is($r->status, 200, 'metrics as protobuf');
    is($r->header('content-type'), 'application/x-protobuf', 'are answered as protobuf');
    is(length $r->body, 0, 'with an empty message');
    is(post('/v1/metrics', 'application/x-protobuf', Compress::Zlib::memGzip($metrics), 'Content-Encoding', 'gzip')->status, 200, 'gzip too');

    my $json = json_encode({ resourceMetrics => [{ resource => { attributes => [{ key => 'service.name', value => { stringValue => 'api' } }] },
        scopeMetrics => [{ metrics => [{ name => "lat_$unique.json", gauge => { dataPoints => [{ timeUnixNano => $past . '000000', asInt => '5' },
            { timeUnixNano => ($past - 90_000_000) . '000000', asDouble => 1 }] }, aNewField => 1 }] }] }] });
    $r = post('/v1/metrics', 'application/json', $json);
    is($r->status, 200, 'metrics as JSON');
    is($r->json->{partialSuccess}{rejectedDataPoints}, 1, 'what is not taken is partial success');
    like($r->json->{partialSuccess}{errorMessage}, qr/past/, 'with the reason');
    $r = post('/v1/metrics', 'application/json', '{"resourceMetrics": 5}');
    is($r->status, 400, 'nonsense is refused');
    is($r->json->{code}, 3, 'as google.rpc.Status');

    my $line = sub ($i) { { timeUnixNano => ($past + $i) . '000000', severityNumber => 17, body => { stringValue => "payment $i of $unique failed: card declined" } } };
    is(post('/v1/logs', 'application/json', json_encode({ resourceLogs => [{ resource => { attributes => [{ key => 'service.name', value => { stringValue => 'pay' } }] },
        scopeLogs => [{ logRecords => [map { $line->($_) } 1 .. 5] }] }] }))->status, 200, 'logs');

    my $span = sub ($svc, $kind, $id, $parent, $ms, $err) { { resource => { attributes => [{ key => 'service.name', value => { stringValue => "$svc-$unique" } }] },
        scopeSpans => [{ spans => [{ traceId => 'a' x 32, spanId => $id, ($parent ? (parentSpanId => $parent) : ()), kind => $kind,
            startTimeUnixNano => $past . '000000', endTimeUnixNano => ($past + $ms) . '000000', ($err ? (status => { code => 2 }) : ()) }] }] } };
    is(post('/v1/traces', 'application/json', json_encode({ resourceSpans => [$span->('front', 3, '1' x 16, undef, 120, 0), $span->('back', 2, '2' x 16, '1' x 16, 100, 1)] }))->status, 200, 'traces');
};

# name => [points of OTLP, or series of remote write; then what metric_1m has: samples,
# avg, max, p95 and how far p95 may be off]. A point is [temporality, ms of the minute, {…}].
my @bounds = map { $_ * 10 } 1 .. 10;
my $hist = sub ($at, $counts, %more) { { timeUnixNano => ($past + $at) . '000000', explicitBounds => \@bounds, bucketCounts => $counts, %more } };
my $exp = sub ($at, $offset, $counts, %more) { { timeUnixNano => ($past + $at) . '000000', scale => 3, positive => { offset => $offset, bucketCounts => $counts }, %more } };
my @even = ((100) x 10, 0);
my @histograms = (
    # 1000 values evenly up to 100: 95 of a hundred are below 95; a sixteenth of a bucket, and 1 %, may be missed
    [ 'delta', histogram => 1, [$hist->(0, \@even, count => '1000', sum => 50_000)], [1000, 50, 100, 95, 1.5] ],
    [ 'deltas', histogram => 1, [$hist->(0, \@even, sum => 50_000), $hist->(500, \@even, sum => 50_000), $hist->(500, \@even, sum => 50_000)], [2000, 50, 100, 95, 1.5] ],
    [ 'cumulative', histogram => 2, [$hist->(0, [(7) x 11], sum => 900), $hist->(9000, [(107) x 10, 7], sum => 50_900)], [1000, 50, 100, 95, 1.5] ],
    [ 'began here', histogram => 2, [$hist->(9000, \@even, sum => 50_000, startTimeUnixNano => ($past + 1) . '000000')], [1000, 50, 100, 95, 1.5] ],
    [ 'again', histogram => 2, [$hist->(0, [(900) x 10, 0], sum => 1), $hist->(9000, \@even, sum => 50_000)], [1000, 50, 100, 95, 1.5] ],
    [ 'out of order', histogram => 2, [$hist->(9000, \@even, sum => 50_000), $hist->(1000, [(5) x 11], sum => 9)], undef ],
    [ 'first of all', histogram => 2, [$hist->(9000, \@even, sum => 50_000)], undef ],
    [ 'no sum', histogram => 1, [$hist->(0, \@even)], [1000, 50, 100, 95, 1.5] ],
    [ 'beyond', histogram => 1, [$hist->(0, [(0) x 10, 50], sum => 9000, max => 300, min => 120)], [50, 180, 300, 291, 12] ],
    [ 'beyond, no max', histogram => 1, [$hist->(0, [(0) x 10, 50], sum => 9000)], [50, 180, 100, 100, 1] ],
    [ 'empty', histogram => 1, [$hist->(0, [(0) x 11], sum => 0)], undef ],
    [ 'no buckets', histogram => 1, [{ timeUnixNano => $past . '000000', count => '5', sum => 9 }], undef ],
    [ 'powers', exponentialHistogram => 1, [$exp->(0, 24, [(100) x 8], sum => 9000)], [800, 11.25, 16, 15.3, 0.3] ],
    # one bucket of 2 in scale 2 is two of scale 3: what was narrow became wide
    [ 'wider', exponentialHistogram => 2, [$exp->(0, 24, [(100) x 8], sum => 1), $exp->(9000, 12, [(400) x 4], scale => 2, sum => 9001)], [800, 11.25, 16, 15.3, 0.3] ],
    [ 'below zero', exponentialHistogram => 1, [{ timeUnixNano => $past . '000000', scale => 0, zeroCount => '90', negative => { offset => 3, bucketCounts => ['10', 0] }, sum => -100 }], [100, -1, 0, 0, 0] ],
);

subtest 'histograms' => sub {
    for my $h (@histograms) {
        my ($name, $kind, $temporality, $points) = @$h;
        my $r = post('/v1/metrics', 'application/json', json_encode({ resourceMetrics => [{ scopeMetrics => [{ metrics => [
            { name => "h $name $unique", $kind => { aggregationTemporality => $temporality, dataPoints => $points } }] }] }] }));
        is($r->status, 200, "$name is taken");
        is($r->json->{partialSuccess}, undef, 'whole') or diag($r->body);
    }
    for my $bad ([explicitBounds => [2, 1], bucketCounts => [1, 1, 1]], [explicitBounds => [1], bucketCounts => [1]], [explicitBounds => [1 .. 600], bucketCounts => [(1) x 601]]) {
        my $r = post('/v1/metrics', 'application/json', json_encode({ resourceMetrics => [{ scopeMetrics => [{ metrics => [
            { name => "h bad $unique", histogram => { aggregationTemporality => 1, dataPoints => [{ timeUnixNano => $past . '000000', @$bad }] } }] }] }] }));
        is($r->json->{partialSuccess}{rejectedDataPoints}, 1, 'buckets that are none are refused: ' . $r->json->{partialSuccess}{errorMessage});
    }
    # as protobuf: packed counts of fixed64, and uint64 of an exponential one
    my $p = bytes_field(1, bytes_field(2, bytes_field(2, bytes_field(1, "h proto $unique") . bytes_field(9, int_field(2, 1) . bytes_field(1, fixed_field(3, $past * 1_000_000)
        . fixed_field(4, 1000) . double_field(5, 50_000) . bytes_field(6, pack 'Q<*', @even) . bytes_field(7, pack 'd<*', @bounds))))
        . bytes_field(2, bytes_field(1, "h proto2 $unique") . bytes_field(10, int_field(2, 1) . bytes_field(1, fixed_field(3, $past * 1_000_000) . sint_field(6, 3)
        . bytes_field(8, sint_field(1, 24) . bytes_field(2, join '', map { varint(100) } 1 .. 8)))))));
    is(post('/v1/metrics', 'application/x-protobuf', $p)->status, 200, 'as protobuf');

    # Prometheus: a classic one is many series, which need not come at once; a native one
    my $l = sub ($name, %more) { { __name__ => "h_${name}_$unique" =~ s/(_bucket|_sum)(.*)/$2$1/r, service => 'web', %more } };
    my $series = sub ($name, $le, $k) { [$l->($name . '_bucket', le => $le), [$past, 5], [$past + 15_000, 5 + 100 * $k]] };
    is(prw(write_request(map { $series->('classic', $bounds[$_], $_ + 1) } 0 .. 4))->status, 204, 'a part of a classic one');
    is(prw(write_request((map { $series->('classic', $bounds[$_], $_ + 1) } 5 .. 9), $series->('classic', '+Inf', 10), [$l->('classic_sum'), [$past, 5], [$past + 15_000, 50_005]]))->status, 204, 'the rest of it');
    is(prw(write_request(map { $series->('part', $bounds[$_], $_ + 1) } 0 .. 4))->status, 204, 'one that is never whole');
    my $native = sub ($at, $n, $sum, %o) { int_field(1, $n) . double_field(3, $sum) . sint_field(4, 3) . bytes_field(11, sint_field(1, 25) . int_field(2, 8))
        . bytes_field(12, join '', map { my $d = $_ ? 0 : $n / 8; varint(2 * $d) } 0 .. 7) . ($o{gauge} ? int_field(14, 3) : '') . int_field(15, $past + $at) };
    is(prw(native_request([$l->('native'), $native->(0, 80, 1), $native->(9000, 880, 9001)], [$l->('gauge'), $native->(0, 800, 9000, gauge => 1)]))->status, 204, 'native ones');
    my $r = prw(native_request([$l->('bad'), int_field(1, 5) . sint_field(4, 9) . int_field(15, $past)]));
    is($r->status, 400, 'of a scale that is none');
    like($r->body, qr/native histogram/, 'with the reason');
    $r = prw(native_request([$l->('bad'), int_field(1, 5) . bytes_field(11, int_field(2, 1 << 40)) . bytes_field(13, pack 'd<*', (1) x 600) . int_field(15, $past)]));
    is($r->status, 400, 'with more buckets than are taken');
};

subtest 'Loki' => sub {
    my $r = post('/loki/api/v1/push', 'application/json', json_encode({ streams => [{ stream => { app => "cart-$unique", level => 'error' },
        values => [map { [($past + $_) . '000000', "cannot reach db-$_ after 3 tries"] } 1 .. 3] }] }));
    is($r->status, 204, 'a push as JSON') or diag($r->brief);
    $r = post('/loki/api/v1/push', 'application/x-protobuf', snappy(push_request(["{app=\"cart-$unique\"}", [$past + 9, 'cannot reach db-9 after 3 tries']])));
    is($r->status, 204, 'and as protobuf') or diag($r->brief);
    is(post('/loki/api/v1/push', 'application/json', '{"streams":[{"stream":{},"values":[["x","y"]]}]}')->status, 400, 'a time that is none is refused');
};

subtest 'events' => sub {
    my $alert = sub ($status) { json_encode({ version => '4', status => $status, receiver => 'aegis', groupLabels => {}, commonLabels => {}, commonAnnotations => {}, alerts => [{
        status => $status, labels => { alertname => "HighErrors-$unique", severity => 'critical', namespace => 'shop', service => 'web' },
        annotations => { summary => 'errors are high' }, startsAt => '2026-11-26T05:00:00.000Z', endsAt => '0001-01-01T00:00:00Z', fingerprint => "f$unique" }] }) };
    is(post('/ingest/alertmanager', 'application/json', $alert->($_))->status, 200, "an alert, $_") for qw(firing firing resolved);
    my $rows = $pg->rows('SELECT state, severity, resource, title, taken_at FROM aegis.signal_event WHERE dedupe = ? ORDER BY state', "f$unique");
    is_deeply([ map { "$_->{state} $_->{severity} $_->{resource}" } @$rows ], ['firing critical urn:k8s:svc:shop/web', 'resolved critical urn:k8s:svc:shop/web'], 'is one row a state');
    is(post('/ingest/alertmanager', 'application/json', '{"version":"3","alerts":[]}')->status, 400, 'another version is refused');

    is(post('/ingest/kubernetes', 'application/json', json_encode({ kind => 'Event', metadata => { uid => "u$unique", name => 'x' }, type => 'Warning', reason => 'BackOff', count => 4,
        message => 'Back-off restarting', involvedObject => { kind => 'Pod', namespace => 'shop', name => 'web-1' }, firstTimestamp => '2026-11-26T05:00:00Z', lastTimestamp => '2026-11-26T05:01:00Z' }))->status, 202, 'an event of Kubernetes');
    is($pg->one('SELECT resource FROM aegis.signal_event WHERE dedupe = ?', "u$unique"), 'urn:k8s:pod:shop/web-1', 'says whom it is about');

    my %ce = (specversion => '1.0', id => "1$unique", source => '/ci', type => 'deploy.done', time => '2026-11-26T05:00:00Z');
    is(post('/ingest/cloudevents', 'application/cloudevents+json', json_encode({ %ce, data => { title => 'deployed', labels => { service => 'web' } } }))->status, 202, 'a structured CloudEvent');
    is(post('/ingest/cloudevents', 'application/json', json_encode({ title => 'again' }), map { ("ce-$_" => $_ eq 'id' ? "2$unique" : $ce{$_}) } sort keys %ce)->status, 202, 'one in binary form');
    is($pg->one(q{SELECT count(*) FROM aegis.signal_event WHERE source = 'cloudevents' AND title IN ('deployed', 'again') AND received_at > now() - interval '2 min'}) >= 2, 1, 'are rows');
    my $r = post('/ingest/cloudevents', 'application/cloudevents+json', json_encode({ %ce, specversion => '0.3' }));
    is($r->status, 400, 'another version is not');
    is($r->header('content-type'), 'application/problem+json', 'as a problem document');
};

subtest 'who, what and how much' => sub {
    is($stack->http('reader')->request('POST', '/v1/metrics', body => '', headers => ['Content-Type', 'application/x-protobuf'])->status, 403, 'a credential without ingest:write');
    is($http->request('POST', '/v1/metrics', body => '', headers => [Authorization => undef, 'Content-Type', 'application/x-protobuf'])->status, 401, 'none');
    is($http->get('/v1/metrics')->status, 405, 'another method');
    is(post('/v1/metrics', 'text/plain', 'x')->status, 415, 'another type');
    is(post('/v1/metrics', 'application/x-protobuf', 'x', 'Content-Encoding', 'br')->status, 415, 'another encoding');
    is(post('/v1/metrics', 'application/x-protobuf', "\xff" x 50)->status, 400, 'no protobuf');
    is(prw("\x0a\xff\xff\xff\xff\x0f")->status, 400, 'a length beyond the end');
    is(post('/api/v1/write', 'application/x-protobuf', 'no snappy')->status, 400, 'no snappy');
    is(post('/v1/logs', 'application/json', '[' x 100_000)->status, 400, 'JSON without an end');
    is(post('/api/v1/write', 'application/x-protobuf', Aegis::Proto::varint(1 << 31) . 'x' x 100)->status, 413, 'a snappy bomb');
    my $bomb = Compress::Zlib::memGzip("\0" x 90_000_000);
    is(post('/v1/traces', 'application/x-protobuf', $bomb, 'Content-Encoding', 'gzip')->status, 413, 'a gzip bomb of ' . length($bomb) . ' bytes');
    is(post('/v1/traces', 'application/x-protobuf', 'x' x 17_000_000)->status, 413, 'a body of 17 MB');
    is(prw(write_request([{ __name__ => "wide_$unique", map { ("l$_" => 'x') } 1 .. 70 }, [$past, 1]]))->status, 400, 'more labels than are taken');
    cmp_ok($stack->metric('sensor', 'aegis_sensor_malformed_total') // 0, '>=', 5, 'what could not be read is counted');
};

subtest 'Prometheus and Alertmanager themselves' => sub {
    my ($prometheus, $alertmanager) = map { my $p = $_; (grep { -x } map { "$_/$p" } split /:/, $ENV{PATH})[0] } qw(prometheus prometheus-alertmanager);
    plan skip_all => 'needs Debian\'s prometheus and prometheus-alertmanager' unless $prometheus && $alertmanager;
    my $dir = scratch('clients');
    my ($url, $ca, $token) = map { $stack->e($_) } qw(AEGIS_URL AEGIS_CA AEGIS_TOKEN);
    my ($pp, $pa) = (free_port(), free_port());
    spew("$dir/key", $token);
    spew("$dir/p.yml", "global: {scrape_interval: 1s, external_labels: {test: '$unique'}}\nscrape_configs: [{job_name: self, static_configs: [{targets: ['127.0.0.1:$pp']}]}]\n"
        . "remote_write: [{url: '$url/api/v1/write', tls_config: {ca_file: '$ca'}, authorization: {credentials_file: '$dir/key'}, queue_config: {batch_send_deadline: 1s}}]\n");
    spew("$dir/a.yml", "route: {receiver: aegis, group_wait: 0s, group_interval: 1s}\nreceivers: [{name: aegis, webhook_configs: [{url: '$url/ingest/alertmanager',"
        . " http_config: {tls_config: {ca_file: '$ca'}, authorization: {credentials_file: '$dir/key'}}}]}]\n");
    my @p = (start_process('prometheus', [$prometheus, "--config.file=$dir/p.yml", "--storage.tsdb.path=$dir/tsdb", "--web.listen-address=127.0.0.1:$pp"], log => "$dir/p.log"),
        start_process('alertmanager', [$alertmanager, "--config.file=$dir/a.yml", "--storage.path=$dir/am", "--web.listen-address=127.0.0.1:$pa", '--cluster.listen-address='], log => "$dir/a.log"));
    wait_for('alertmanager', 20, sub { run(['curl', '-fsS', "http://127.0.0.1:$pa/-/ready"])->{rc} == 0 });
    run_ok(['curl', '-fsS', '-H', 'Content-Type: application/json', '-d', json_encode([{ labels => { alertname => "Real-$unique", severity => 'critical', service => "am-$unique" }, annotations => { summary => 'real' } }]),
        "http://127.0.0.1:$pa/api/v2/alerts"]);
    my $alert = sub { $pg->one('SELECT count(*) FROM aegis.signal_event WHERE kind = ?', "Real-$unique") };
    ok(wait_for('the alert', 20, $alert), 'an alert of Alertmanager is there') or diag(slurp("$dir/a.log"));
    my $f;
    ok(wait_for('its finding', 60, sub { $f = $pg->row('SELECT decision, case_id FROM aegis.finding WHERE resource = ?', "urn:svc:am-$unique") }), 'a finding is made of it');
    is($f->{decision}, 'opened', 'which opened a case');
    ok(wait_for('the case', 60, sub { $http->get("/case/$f->{case_id}")->status == 200 }), 'that is there');
    my $sent = sub { run(['curl', '-fsS', "http://127.0.0.1:$pp/metrics"])->{out} =~ /^prometheus_remote_storage_samples_total\{.*\} (\d+)/m ? $1 : 0 };
    ok(wait_for('Prometheus to have sent', 30, sub { $sent->() > 100 }), 'Prometheus sends') or diag(slurp("$dir/p.log"));
    my $failed = run(['curl', '-fsS', "http://127.0.0.1:$pp/metrics"])->{out} =~ /^prometheus_remote_storage_samples_failed_total\{.*\} (\d+)/m ? $1 : 0;
    is($failed, 0, 'and nothing of it is refused') or diag(slurp("$dir/p.log"));
    stop_process($_) for @p;
};

subtest 'what it became' => sub {
    # a sensor that stops writes what it has, so that nobody waits for a minute's end
    $stack->kill_worker('sensor', 'TERM');
    ok(wait_for('the aggregates to be written', 30, sub { row("cpu_$unique", $past) }), 'the minute is there');
    my $r = row("cpu_$unique", $past);
    is($r->{samples}, 21, 'each sample once');
    is($r->{max}, 100, 'max');
    is(sprintf('%.3f', $r->{avg}), sprintf('%.3f', (210 + 100) / 21), 'avg');
    ok(abs($r->{p95} - 20) <= 0.21, 'p95 by the sketch') or diag($r->{p95});
    is($r->{resource}, 'urn:k8s:svc:shop/web', 'whose it is');
    is($r->{labels}, '{"pod": "web-1"}', 'what else is known');
    is(row("mem_$unique", $past)->{resource}, 'urn:job:node/h:1', 'of version 2 too');
    is(row("lat_$unique", $past)->{samples}, 1, 'OTLP, sent plain and as gzip, counts once: the sample was there');
    is(row("lat_$unique.json", $past)->{avg}, 5, 'JSON');
    is(row("c_${unique}_total", $past)->{max}, 30, 'a counter as it is');
    is(row("c_${unique}_total:rate", $past)->{avg}, 2, 'and what it grows by second');
    for my $h (@histograms, map { [$_->[0], ('') x 3, $_->[1]] } ['proto', [1000, 50, 100, 95, 1.5]], ['proto2', [800, 11.25, 16, 15.3, 0.3]]) {
        is_spread("h $h->[0] $unique", $h->[4]);
    }
    is_spread("h_$_->[0]_$unique", $_->[1]) for ['classic', [1000, 50, 100, 95, 1.5]], ['part', undef], ['native', [800, 11.25, 16, 15.3, 0.3]], ['gauge', [800, 11.25, 16, 15.3, 0.3]];
    my $p = $pg->row('SELECT p.*, (SELECT sum(count) FROM aegis.log_pattern_5m c WHERE c.fingerprint = p.fingerprint AND c.resource = p.resource) AS n FROM aegis.log_pattern p WHERE resource = ?', 'urn:svc:pay');
    is($p->{severity}, 'error', 'lines are of a template');
    like($p->{template}, qr/^payment <\*> of \S+ failed: card declined$/, 'that says what they share');
    is($p->{n} >= 5, 1, 'counted');
    my $l = $pg->row('SELECT total, template FROM aegis.log_pattern WHERE resource = ?', "urn:svc:cart-$unique");
    is($l->{total}, 4, 'Loki by JSON and protobuf: one template');
    my $c = $pg->row('SELECT calls, errors, p50, err_rate FROM aegis.service_call_5m WHERE caller = ? AND callee = ?', "urn:svc:front-$unique", "urn:svc:back-$unique");
    is($c->{calls}, 1, 'two halves are one call');
    is($c->{errors}, 1, 'with the error of either');
    ok(abs($c->{p50} - 120) < 1.3, 'and the time of the client') or diag($c->{p50});
    ok($pg->one('SELECT count(*) FROM aegis.dim_resource WHERE resource = ?', 'urn:k8s:svc:shop/web'), 'who reported is known');
    ok(wait_for('the object store', 60, sub { $pg->one(q{SELECT count(*) FROM aegis.oo_locator WHERE dataset = 'metrics' AND created_by = 'sensor'}) }), 'there is a locator');
    my $o = $pg->row(q{SELECT object_key, bytes FROM aegis.oo_locator WHERE dataset = 'metrics' AND created_by = 'sensor' LIMIT 1});
    is(-s $stack->run_dir . "/objects/$o->{object_key}", $o->{bytes}, 'which leads to the bytes');
};

subtest 'kill -9 between answers' => sub {
    $stack->wait_worker('sensor');
    my $t0 = minute(ms()) - 60_000;
    my ($ok, $i) = (0, 0);
    my %l = (__name__ => "kill_$unique", service => 'k');
    for my $round (1 .. 3) {
        for (1 .. 20) {
            my $b = write_request([\%l, [$t0 + $i, 1]]);
            $i++;
            wait_for('an answer', 60, sub { my $a = eval { prw($b)->status } // 0; $http->close if $a != 204; $a == 204 }) or last;
        }
        $stack->wait_worker('sensor', $stack->kill_worker('sensor'));
    }
    $stack->kill_worker('sensor', 'TERM');
    ok(wait_for('all of it', 30, sub { ($pg->one('SELECT sum(samples) FROM aegis.metric_1m WHERE metric = ?', "kill_$unique") // 0) >= 60 }), 'what was answered is there');
    is($pg->one('SELECT sum(samples) FROM aegis.metric_1m WHERE metric = ?', "kill_$unique"), 60, 'once');
    SKIP: {
        skip 'no Prometheus', 1 unless grep { -x "$_/prometheus" } split /:/, $ENV{PATH};
        # its minute may not have ended before that stop, which writes what there is
        cmp_ok($pg->one(q{SELECT sum(samples) FROM aegis.metric_1m WHERE metric = 'up' AND labels ->> 'test' = ?}, $unique) // 0, '>', 0, 'so is what Prometheus scraped itself');
    }
};

subtest 'a second one stands by' => sub {
    $stack->wait_worker('sensor');
    my $p = start_process('second', [$stack->as_service(build_dir . '/aegis-worker', '-c', $stack->run_dir . '/conf/aegis.yaml', 'sensor')],
        env => { AEGIS_METRICS_LISTEN => '127.0.0.1:' . (my $port = free_port), san_env });
    ok(wait_for('it to stand by', 20, sub { slurp($p->{log}) =~ /"standing-by"/ }), 'it says that another serves');
    my $served = sub { wait_for('an answer', 20, sub { eval { prw(write_request([{ __name__ => "two_$unique" }, [$past, 1]]))->status } == 204 }) };
    ok($served->(), 'the first one does');
    stop_process($p, 'TERM', 25);
    ok($served->(), 'and goes on when the second has ended');
};

# One with limits of its own, on a socket of its own: nobody else meets them.
subtest 'limits that bite are said' => sub {
    my ($port, $dir) = (free_port, scratch('limited'));
    chmod 0777, $dir;
    my $p = start_process('limited', [$stack->as_service(build_dir . '/aegis-worker', '-c', $stack->run_dir . '/conf/aegis.yaml', 'sensor')],
        env => { AEGIS_METRICS_LISTEN => "127.0.0.1:$port", AEGIS_SENSOR_SOCKET => "$dir/s", AEGIS_SENSOR_QUEUE_MB => 1, AEGIS_SENSOR_SERIES_MAX => 3, san_env });
    ok(wait_for('its socket', 20, sub { -S "$dir/s" }), 'a second sensor serves beside the first') or diag(slurp($p->{log}));
    my $say = sub ($name, $body) {
        my $file = spew("$dir/$name", snappy($body));
        return ['curl', '-s', '-D', '-', '--unix-socket', "$dir/s", '-H', 'X-Aegis-Tenant: default', '-H', 'Content-Type: application/x-protobuf',
            '-H', 'Content-Encoding: snappy', '--data-binary', "\@$file", 'http://sensor/api/v1/write'];
    };
    my $metric = sub ($name) { run(['curl', '-s', "http://127.0.0.1:$port/metrics"])->{out} =~ /^\Q$name\E(?:\{.*\})? (\S+)/m ? $1 : 0 };

    # the disk is busy: what waits for its commit is more than a MiB
    my $lock = $pg->connect;
    $lock->begin_work;
    $lock->do('LOCK TABLE aegis.ingest_journal IN SHARE MODE');
    my @big = map { my $k = $_; $say->("big$k", write_request([{ __name__ => "full_$unique", service => 'f' }, map { [$past + 6 * $_ - $k, $k] } 1 .. 15_000])) } 1 .. 6;
    start_process("big$_", $big[$_ - 1], log => "$dir/answer$_") for 1 .. 6;
    my $answers = sub ($status) { scalar grep { slurp("$dir/answer$_") =~ /^HTTP\S+ $status\b/ } 1 .. 6 };
    ok(wait_for('a refusal', 20, sub { $answers->(429) }), 'a full backlog is 429') or diag(map { slurp("$dir/answer$_") } 1 .. 6);
    my ($no) = grep { /^HTTP\S+ 429/ } map { slurp("$dir/answer$_") } 1 .. 6;
    like($no, qr/^retry-after: [1-9]\d*\r$/mi, 'with Retry-After');
    cmp_ok($metric->('aegis_sensor_busy_total'), '>=', 1, 'and counted');
    $lock->rollback;
    # one that waited too long for the table is 503; either is sent again, as senders do
    ok(wait_for('the others', 30, sub { $answers->(429) + $answers->(503) + $answers->(204) == 6 }), 'the others are answered') or diag(map { slurp("$dir/answer$_") } 1 .. 6);
    for my $k (1 .. 6) {
        ok(wait_for('it to be taken', 30, sub { run($big[$k - 1])->{out} =~ /^HTTP\S+ 204/ }), "sent again, $k is taken");
    }

    my @r = map { run($say->("series$_", write_request([{ __name__ => "many_$unique", service => 'f', n => "$_" }, [$past, 1]])))->{out} } 1 .. 4;
    is((grep { /^HTTP\S+ 204/ } @r), 2, 'series up to the limit are taken');
    like($r[-1], qr/^HTTP\S+ 400 .*has 3 series, which is the limit/s, 'those beyond it are refused, with the reason');
    ok(wait_for('the limit to be seen', 20, sub { $metric->('aegis_sensor_series_refused') }), 'and are a metric');
    stop_process($p, 'TERM', 25);
    is($pg->one('SELECT sum(samples) FROM aegis.metric_1m WHERE metric = ?', "full_$unique"), 90_000, 'what was refused and sent again is there once');
};

$stack->finish;
done_testing;
