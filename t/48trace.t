# 48trace.t: one trace from the HTTP request through outbox, bus and every worker
# to the step that ran, in a collector that holds each byte against the protocol;
# a collector that is away, slow or refuses costs spans and nothing else.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::OtelSink;
use Aegis::Stack;
use Aegis::Test;

my $sink = Aegis::OtelSink->new;
my $stack = Aegis::Stack->own('trace', env => { OTEL_ENDPOINT => $sink->url });
my $http = $stack->http;
# those that a case goes through
my @roles = grep { !/^(?:relay|audit|sensor|librarian)$/ } $stack->roles;

sub id ($n) { return sprintf '4bf92f3577b34da6a3ce929d%08x', $n }
sub parent ($n, $flags = '01') { return 'traceparent', '00-' . id($n) . "-b7ad6b7169203331-$flags" }
sub named ($spans, $re) { return grep { $_->{name} =~ $re } @$spans }

subtest 'one trace from the request to the step' => sub {
    my $case = Aegis::Case->create($http, title => 'traced', headers => [parent(1), tracestate => 'a=1 , b=2', tracestate => 'c=3']);
    is($case->wait_state('CLOSED', 60)->{status}, 'CLOSED', 'a case is closed');
    my $done = 'publish evt.case.transition.v1';
    my @s;
    wait_for('the whole trace', 20, sub {
        @s = $sink->spans(id(1));
        # each process sends in its own time: whole is what has all that it stands below
        my %there = map { $_->{spanId} => 1 } @s;
        return 0 if grep { !$there{ $_->{parentSpanId} // '' } && $_->{parentSpanId} ne 'b7ad6b7169203331' } @s;
        my %role = map { ($_->{attributes}{'aegis.role'} // 'gateway') => 1 } @s;
        return 0 if grep { !$role{$_} } 'gateway', @roles;
        return grep({ $_->{name} eq $done } @s) == 6 && grep({ $_->{name} eq 'run' } @s) && grep { $_->{name} eq 'publish evt.verify.pass.v1' } @s;
    });
    is_deeply([ grep { /^wrong/ } $sink->facts ], [], 'every request keeps to the protocol');
    my %by = map { $_->{spanId} => $_ } @s;
    is(scalar keys %by, scalar @s, 'no span came twice, no two have one id');
    my @root = grep { !$by{ $_->{parentSpanId} // '' } } @s;
    is_deeply([ map { "$_->{name} below $_->{parentSpanId}" } @root ], ['POST /case/create below b7ad6b7169203331'],
        'only the request stands below what the client began: all others below it');
    is_deeply([ grep { ($_->{traceState} // '') ne 'a=1,b=2,c=3' } @s ], [], 'each carries the tracestate');
    my %service = map { $_->{resource}{'service.name'} => 1 } @s;
    is_deeply([ sort keys %service ], ['aegis-gateway', 'aegis-worker'], 'gateway and workers');
    is_deeply([ sort keys %{ { map { ($_->{attributes}{'aegis.role'} // 'gateway') => 1 } @s } } ], [ sort 'gateway', 'relay', @roles ],
        'each role has its part in it');
    is_deeply([ sort keys %{ { map { ($_->{attributes}{'aegis.case_id'} // $_->{attributes}{'aegis.id'}) => 1 } @s } } ], [ $case->id ],
        'each names the case');
    my ($step) = named(\@s, qr/^step /) or return fail('no step');
    my @up = $step;
    unshift @up, $by{ $up[0]{parentSpanId} } while $by{ $up[0]{parentSpanId} // '' };
    is_deeply([ map { $_->{name} } @up ], ['POST /case/create', 'publish evt.case.created.v1', 'process evt.case.created.v1',
        'publish cmd.analyze.run', 'process cmd.analyze.run', 'publish cmd.plan.generate', 'process cmd.plan.generate',
        'publish cmd.gate.eval', 'process cmd.gate.eval', 'publish cmd.exec.run', 'process cmd.exec.run', 'run', 'step echo'],
        'the step that ran is below all that led to it');
    is_deeply([ map { "$up[$_]{name} $up[$_]{startTimeUnixNano}, $up[$_ - 1]{name} $up[$_ - 1]{startTimeUnixNano}" }
        grep { $up[$_]{startTimeUnixNano} lt $up[$_ - 1]{startTimeUnixNano} } 1 .. $#up ], [], 'and none of them begins before what it stands below');
    is_deeply([ grep { $_->{status}{code} } @s ], [], 'nothing failed in it');
    is_deeply({ map { $_ => $up[0]{attributes}{$_} } qw(http.request.method http.route http.response.status_code) },
        { 'http.request.method' => 'POST', 'http.route' => '/case/create', 'http.response.status_code' => 201 }, 'the request says what it was');
    is(scalar(grep { $_->{kind} == 4 } named(\@s, qr/^publish/)), scalar(named(\@s, qr/^publish/)), 'publishing is a producer\'s');
    is(scalar(grep { $_->{kind} == 5 } named(\@s, qr/^process/)), scalar(named(\@s, qr/^process/)), 'processing a consumer\'s');
};

subtest 'the traceparent decides whether a trace is sampled' => sub {
    my $no = Aegis::Case->create($http, title => 'not traced', headers => [parent(2, '00')]);
    $no->wait_state('CLOSED', 60);
    my $yes = $http->get('/case/' . $no->id, headers => [parent(3)]);
    like($yes->header('traceparent'), qr/^00-${\id(3)}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/, 'an answer names the span of its request');
    wait_for('the span', 20, sub { $sink->spans(id(3)) });
    is(scalar $sink->spans(id(2)), 0, 'a trace that is not sampled has no spans');
    is(($no->timeline)[-1]{trace_id}, id(2), 'but goes with the case all the same');
    my ($s) = $sink->spans(id(3));
    is($http->get('/case/' . $no->id)->header('traceparent') =~ /-01$/ ? 1 : 0, 1, 'ratio 1: a new trace is sampled');
    my $undo = $stack->nginx_edit(sub ($text) { $text =~ s/(aegis_otel\s+\S+);/$1 ratio=0;/r });
    like($http->get('/case/' . $no->id)->header('traceparent'), qr/-00$/, 'ratio 0: none is');
    like($http->get('/case/' . $no->id, headers => [parent(4)])->header('traceparent'), qr/-01$/, 'but those of others as they say');
    $undo->();
};

subtest 'what goes wrong is in the span' => sub {
    my $r = $http->get('/case/00000000-0000-4000-8000-000000000000', headers => [parent(5)]);
    is($r->status, 404, 'a case that is not there');
    my ($s) = wait_for('its span', 20, sub { my @s = $sink->spans(id(5)); @s ? $s[0] : undef });
    is($s->{attributes}{'error.type'}, 'not-found', 'is named');
    is_deeply($s->{status}, {}, 'a mistake of the client\'s is no error of the server\'s');
};

subtest 'a verification that takes time is one span' => sub {
    my $case = Aegis::Case->create($http, mode => 'manual')->drive('VERIFYING', plan => { verify => [
        { kind => 'metric', resource => 'urn:none', metric => 'm', op => '<', threshold => 1, window_s => 1, every_s => 1, deadline_s => 3 }] });
    my $verify = $case->post('/verify/run', headers => [parent(41)])->json->{verify_id};
    $case->wait_state('PARKED', 60);
    my ($span) = wait_for('its span', 30, sub { my @s = named([ $sink->spans(id(41)) ], qr/^verification$/); @s ? $s[0] : undef });
    my $request = wait_for('the request', 30, sub { my @s = named([ $sink->spans(id(41)) ], qr/^POST /); @s ? $s[0] : undef });
    is($span->{parentSpanId}, $request->{spanId}, 'it is below the request');
    is_deeply([ @{ $span->{attributes} }{qw(aegis.role aegis.case_id aegis.verify_id aegis.verify.outcome)} ], ['verify', $case->id, $verify, 'inconclusive'],
        'it says which it was, and how it ended');
    ok($span->{status}{code}, 'what did not pass is an error');
    my ($row) = @{ $stack->pg->rows('SELECT extract(epoch FROM finished_at - created_at)::float8 AS s FROM aegis.verify_run WHERE verify_id = ?', $verify) };
    my $s = ($span->{endTimeUnixNano} - $span->{startTimeUnixNano}) / 1e9;
    ok($s >= $row->{s} - 0.1, "it lasts as long as the verification: $s s, $row->{s} s");
};

subtest 'nginx\'s own otel module has the span, where it is asked to' => sub {
    my $undo = $stack->nginx_edit(sub ($text) {
        $text =~ s{aegis_otel\s+\S+;}{aegis_otel nginx; map "" \$otel_trace_id { default ${\id(6)}; } map "" \$otel_span_id { default 00f067aa0ba902b7; } map \$arg_q \$otel_parent_sampled { default ""; 0 0; }}r });
    my $r = $http->get('/healthz');
    is($http->get('/case', headers => [parent(7)])->header('traceparent'), '00-' . id(6) . '-00f067aa0ba902b7-01', 'its trace and span are what goes on');
    my $case = Aegis::Case->create($http, title => 'below nginx\'s span', mode => 'manual');
    my ($p) = wait_for('what is below it', 20, sub { my @s = named([ $sink->spans(id(6)) ], qr/^publish evt.case.created/); @s ? $s[0] : undef });
    is($p->{parentSpanId}, '00f067aa0ba902b7', 'the messages stand below that span');
    is(scalar(named([ $sink->spans(id(6)) ], qr/^POST/)), 0, 'and there is no second span of the request');
    $undo->();
    my $conf = slurp($stack->run_dir . '/nginx/nginx.conf');
    my $t = $stack->nginx_t($conf =~ s/aegis_otel\s+\S+;/aegis_otel nginx;/r);
    like($t->{err}, qr/needs ngx_otel_module, nothing sets \$otel_trace_id, in \S+nginx\.conf:\d+/, 'without the module nginx -t says so');
    for my $bad ('ftp://x', 'http://x/ ratio=2', 'http://x/ ratio=', 'http://x/ queue=100', 'http://x/ what=1', 'nginx ratio=1') {
        isnt($stack->nginx_t($conf =~ s/aegis_otel\s+\S+;/aegis_otel $bad;/r)->{rc}, 0, "nginx -t refuses aegis_otel $bad");
    }
};

subtest 'a collector that is away costs spans, not time' => sub {
    $sink->stop;
    my $case = Aegis::Case->create($http, title => 'nobody looks', headers => [parent(8)]);
    is($case->wait_state('CLOSED', 60)->{status}, 'CLOSED', 'a case is closed');
    ok(wait_for('a line in the log of nginx', 30, sub { $http->get('/case?limit=1'); slurp($stack->run_dir . '/log/nginx-error.log') =~ /the collector does not take spans: \S/ }),
        'nginx says that the collector is away');
    ok(wait_for('a line in the log of a worker', 30, sub { slurp($stack->run_dir . '/log/fsm.log') =~ /otel-collector-away/ }), 'so does a worker');
    $sink->start;
    $http->get('/case?limit=1', headers => [parent(10)]);
    ok(wait_for('spans', 60, sub { $sink->spans(id(10)) }), 'what waits is sent when it is back');
    ok(wait_for('the log of nginx', 30, sub { $http->get('/case?limit=1'); slurp($stack->run_dir . '/log/nginx-error.log') =~ /takes spans again/ }),
        'and the log says so');

    $sink->mode('hang');
    my $undo = $stack->nginx_edit(sub ($text) { $text =~ s/(aegis_otel\s+\S+);/$1 queue=64;/r });
    ok(wait_for('spans to be dropped', 60, sub {
        $http->get('/case?limit=1') for 1 .. 50;
        return ($stack->metric('gateway', 'aegis_otel_spans_total', 'result="dropped"') // 0) > 0;
    }), 'a full queue drops, and counts');
    wait_for('the sink to be asked', 20, sub { grep { $_ eq 'hang' } $sink->facts });
    my $before = time;
    my $fsm = $stack->pid('fsm');
    kill 'TERM', $fsm;
    wait_for('the worker to end', 10, sub { !alive($fsm) });
    cmp_ok(time - $before, '<', 3, 'a hung collector does not hold up the end of a worker');
    my @old = map { $_->{pid} } $stack->nginx_workers;
    $sink->mode('ok');
    $undo->();
    ok(wait_for('the workers of before', 10, sub { !grep { alive($_) } @old }), 'nor of a worker of nginx');
    $stack->wait_worker('fsm', $fsm);
};

subtest 'what the collector says of a batch is counted' => sub {
    my $count = sub ($result) { $stack->metric('gateway', 'aegis_otel_spans_total', qr/result="$result"/) // 0 };
    $sink->mode('partial');
    my $n = $count->('rejected');
    $http->get('/case?limit=1');
    ok(wait_for('one to be rejected', 20, sub { $count->('rejected') > $n }), 'rejected in part');
    $sink->mode('400');
    $n = $count->('failed');
    $http->get('/case?limit=1');
    ok(wait_for('one to fail', 20, sub { $count->('failed') > $n }), 'refused for good: not tried again');
    $sink->mode('429');
    $http->get('/case?limit=1', headers => [parent(9)]);
    ok(wait_for('429', 20, sub { grep { /^429/ } $sink->facts }), 'asked to wait');
    $sink->mode('ok');
    ok(wait_for('it to come', 30, sub { $sink->spans(id(9)) }), 'and tried again');
    cmp_ok($count->('exported'), '>', 0, 'what is taken is counted too');
    like(($sink->facts)[-1], qr{^ok OTel-OTLP-Exporter-aegis/\d}, 'it says who it is');
};

$stack->finish;
done_testing;
