# 40auto_loop.t: one case walks to CLOSED by itself over the bus. Its timeline says
# who, why, by which rule, in which trace and under which correlation id; every
# message is a CloudEvents envelope with all of that; every module has left its
# artefact.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $pg = $stack->pg;
my $trace = '0af7651916cd43dd8448eb211c80319c';
my $res = 'urn:k8s:svc:shop/' . new_key('cart');
$stack->metrics_ahead($res, 'p95_ms', 120);

my $began = time;
my $case = Aegis::Case->create($stack->http, title => 'cart is slow', severity => 'error',
    correlation_id => 'alert-77', reason => 'p95 above 900 ms', tags => ['auto'],
    labels => { service => 'cart', env => 'staging', resource => $res, metric => 'p95_ms', threshold => '500', window_s => '1' },
    headers => [traceparent => "00-$trace-b7ad6b7169203331-01"]);
my $id = $case->id;
my $end = $case->wait_state('CLOSED', 60);
ok($end, 'the case is closed by nobody\'s hand') or BAIL_OUT('the loop does not close: nothing after this can');
my $took = time - $began;
# thirteen messages, one after the other: a poll behind each would take many seconds
cmp_ok($took, '<', 3 * (is_san ? 3 : 1), sprintf('in %.2f s: the relay is told, it does not only poll', $took));
$stack->quiet;

my @t = $case->timeline;
is_deeply([ map { join ' ', $_->{version}, $_->{from_status} // '-', $_->{event}, $_->{to_status}, $_->{rule} // '-' } grep { $_->{kind} ne 'note' } @t ],
    ['1 - create NEW -', '2 NEW start_analysis ANALYZING 110', '3 ANALYZING analysis_done PLANNING 210', '4 PLANNING plan_ready WAIT_GATE 310',
     '5 WAIT_GATE gate_approved EXECUTING 410', '6 EXECUTING exec_done VERIFYING 510', '7 VERIFYING verify_pass CLOSED 610'],
    'it went through every state, by the rules of the table');
is((grep { $_->{kind} eq 'note' } @t), 0, 'no fact came late');
for my $row (@t) {
    is($row->{trace_id}, $trace, "$row->{event}: in the trace of the request that began it");
    is($row->{correlation_id}, 'alert-77', "$row->{event}: under its correlation id");
    ok(length $row->{actor}, "$row->{event}: says who: $row->{actor}");
    ok(length $row->{reason}, "$row->{event}: says why: $row->{reason}");
    is($row->{principal}, $row->{version} == 1 ? 'quickstart' : 'aegis:fsm', "$row->{event}: and on whose authority");
}
is(scalar(keys %{ { map { $_->{actor} => 1 } @t[1 .. 6] } }) > 2 ? 1 : 0, 1, 'the actors are the modules that found it out');

subtest 'every module has left its artefact' => sub {
    my %n = (event_envelope => 1, plan_proposed => 1, gate_decision => 1, plan_approved => 1, exec_run => 1);
    is($pg->one("SELECT count(*) FROM aegis.$_ WHERE case_id = ?", $id), $n{$_}, "one row of $_") for sort keys %n;
    is($pg->one('SELECT count(*) FROM aegis.verify_checkpoint WHERE case_id = ? AND final', $id), 1, 'one verdict of the verifier');
    cmp_ok($pg->one('SELECT count(*) FROM aegis.evidence_link WHERE case_id = ?', $id), '>', 0, 'the analyst links its evidence');
    is($pg->one(q{SELECT count(*) FROM aegis.exec_step WHERE case_id = ? AND state <> 'OK'}, $id), 0, 'every step succeeded');
    like($pg->one('SELECT checks::text FROM aegis.verify_checkpoint WHERE case_id = ? AND final', $id), qr/120/, 'the verifier kept what it measured');
    is($end->{exec_id}, $pg->one('SELECT exec_id FROM aegis.exec_run WHERE case_id = ?', $id), 'the case names its run');
    is($end->{plan_id}, $pg->one('SELECT plan_id FROM aegis.plan_proposed WHERE case_id = ?', $id), 'and its plan');
};

subtest 'every message is an envelope' => sub {
    my %subject = map { $_->[0] => $_->[1] } def_rows('subjects', 'AEGIS_SUBJECT');
    my @msgs;
    for my $s (def_rows('streams', 'AEGIS_STREAM')) {
        push @msgs, map { { %$_, stream => $s->[0], e => json_decode($_->{body}) } }
            grep { index($_->{body}, $id) >= 0 } $stack->nats->messages($s->[1]);
    }
    is(scalar @msgs, $pg->one('SELECT count(*) FROM aegis.outbox WHERE case_id = ?', $id), 'what is in the outbox is on the bus, once');
    my (%seen, @bad);
    for my $m (@msgs) {
        my $e = $m->{e};
        $seen{ $e->{type} }++;
        push @bad, "$e->{type}: $_ = " . ($e->{$_} // 'nothing') for grep { !length($e->{$_} // '') } qw(id source type subject time data tenant partitionkey traceparent);
        push @bad, "$e->{id}: specversion" if ($e->{specversion} // '') ne '1.0';
        push @bad, "$e->{id}: type is not its subject" if $e->{type} ne $m->{subject};
        push @bad, "$e->{id}: in the wrong stream" if ($subject{ $e->{type} } // '') ne $m->{stream};
        push @bad, "$e->{id}: another case" if $e->{subject} ne $id || $e->{partitionkey} ne $id || $e->{data}{case_id} ne $id;
        push @bad, "$e->{id}: another tenant" if $e->{tenant} ne 'default';
        push @bad, "$e->{id}: another trace $e->{traceparent}" if $e->{traceparent} !~ /^00-$trace-[0-9a-f]{16}-0[01]$/;
        push @bad, "$e->{id}: no version" unless ($e->{data}{case_version} // 0) > 0;
        push @bad, "$e->{id}: time $e->{time}" if $e->{time} !~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
        push @bad, "$e->{id}: content type" if ($e->{datacontenttype} // '') ne 'application/json';
        push @bad, "$e->{id}: Nats-Msg-Id" if $m->{headers} !~ /^Nats-Msg-Id: \Q$e->{id}\E\r$/m;
    }
    is_deeply(\@bad, [], 'each says what it is, of which case, tenant and trace, and when');
    is($seen{'evt.case.transition.v1'}, 6, 'six transitions were told');
    is($seen{$_}, 1, "one $_") for qw(cmd.analyze.run cmd.plan.generate cmd.gate.eval cmd.exec.run cmd.verify.run
        evt.case.created.v1 evt.analysis.findings.v1 evt.plan.proposed.v1 evt.plan.approved.v1 evt.exec.done.v1 evt.verify.pass.v1);
    cmp_ok($seen{'evt.exec.step_result.v1'} // 0, '>', 0, 'and its steps');
};

subtest 'texts at their limits go all the way' => sub {
    my $wide = "\x{1f600}";
    my $c = Aegis::Case->create($stack->http, title => $wide x 200, reason => $wide x 2000,
        correlation_id => $wide x 200, tags => [$wide x 64], labels => { note => $wide x 512 });
    ok($c->wait_state('CLOSED', 60), 'the case is closed') or diag($c->get->json->{status});
    is($_->{correlation_id}, $wide x 200, "$_->{event}: the correlation id is whole") for $c->timeline;
};

subtest 'the gateway wakes the relay' => sub {
    my $ear = $pg->connect;
    $ear->do('LISTEN aegis_outbox');
    my $heard = sub { $ear->do('SELECT 1'); my $n = 0; while (my $x = $ear->pg_notifies) { $n++ } return $n };
    $heard->();
    my $c = Aegis::Case->create($stack->http, mode => 'manual');
    ok(wait_for('a notification', 5, $heard), 'by its commit of a creation');
    $stack->quiet;
    $heard->();
    $c->must('force_park');
    ok(wait_for('a notification', 5, $heard), 'and of a transition');
};

subtest 'findings without a case open one' => sub {
    my $found = $stack->publish_fact('evt.analysis.findings.v1', traceparent => "00-$trace-b7ad6b7169203331-01",
        data => { title => 'err_rate of pay is 12 %', severity => 'critical', kind => 'incident', summary => 'found by a rule',
                  labels => { service => 'pay', env => 'staging' }, correlation_id => 'finding-1' });
    my $row = wait_for('a case to be opened', 30, sub {
        $pg->row('SELECT case_id, title, tenant, mode FROM aegis.ops_case WHERE correlation_id = ?', 'finding-1') });
    ok($row, 'a case is opened') or return;
    is($row->{title}, 'err_rate of pay is 12 %', 'with the finding\'s title');
    my $c = bless { http => $stack->http, id => $row->{case_id} }, 'Aegis::Case';
    ok($c->wait_state('CLOSED', 60), 'and goes to CLOSED by itself');
    is_deeply([ map { $_->{event} } grep { $_->{kind} ne 'note' } $c->timeline ], [qw(create start_analysis analysis_done plan_ready gate_approved exec_done verify_pass)],
        'its analysis was done when it was opened');
    is(($c->timeline)[0]{trace_id}, $trace, 'in the finding\'s trace');
    $stack->publish_fact('evt.analysis.findings.v1', id => $found, nats_id => new_key(), traceparent => "00-$trace-b7ad6b7169203331-01",
        data => { title => 'err_rate of pay is 12 %', severity => 'critical', kind => 'incident', correlation_id => 'finding-1' });
    $stack->quiet;
    is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE correlation_id = ?', 'finding-1'), 1, 'the same finding again opens no second one');
};

$stack->finish;
done_testing;
