# 30hand_loop.t: the first demonstrable loop of document 001, section four, call
# by call with curl(1), as a person would do it: create, start the analysis,
# generate a plan, say that it is ready, evaluate the gate, execute, verify;
# with each answer and the whole timeline looked at.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Stack;
use Aegis::Test;

skip_unless('curl');
my $stack = Aegis::Stack->shared;

# One call of curl. {status, headers (name => value), json, body}
sub curl ($method, $path, $body = undef, @more) {
    my $out = scratch() . '/curl.out';
    my $r = run(['curl', '-sS', '--cacert', $stack->e('AEGIS_CA'), '-X', $method, '-D', '-', '-o', $out,
        '-H', 'Authorization: Bearer ' . $stack->token('alice'),
        (defined $body ? ('-H', 'Content-Type: application/json', '-d', $body) : ()), @more, $stack->e('AEGIS_URL') . $path]);
    die "curl $method $path: $r->{err}" if $r->{rc} ne '0';
    my ($status) = $r->{out} =~ m{^HTTP/\S+ (\d+)}m;
    my %h = map { /^([\w-]+):\s*(.*?)\r?$/ ? (lc $1 => $2) : () } split /\n/, $r->{out};
    my $text = slurp($out);
    return { status => $status, headers => \%h, body => $text, json => eval { json_decode($text) } // {} };
}

my $key = sub ($n) { ('-H', "Idempotency-Key: hand-$$-$n") };
my $id;

sub in_state ($state) {
    return wait_for("the case to be $state", 30, sub {
        my $r = curl('GET', "/case/$id");
        return $r->{json}{status} eq $state ? $r : undef;
    });
}

subtest '1. POST /case/create -> NEW' => sub {
    my $r = curl('POST', '/case/create', '{"title":"checkout p95 is 900 ms","mode":"manual","severity":"error",'
        . '"labels":{"service":"checkout","env":"staging"},"actor":"alice","correlation_id":"hand-loop"}', $key->(1));
    is($r->{status}, 201, '201 Created');
    $id = $r->{json}{case_id};
    is($r->{headers}{location}, "/case/$id", 'Location');
    is($r->{headers}{etag}, '"1"', 'ETag "1"');
    is($r->{json}{status}, 'NEW', 'the case is NEW');
};

subtest '2. PATCH /case/{id}/transition start_analysis -> ANALYZING' => sub {
    my $r = curl('PATCH', "/case/$id/transition", '{"event":"start_analysis","actor":"alice","reason":"paged","expected_version":1}',
        $key->(2), '-H', 'If-Match: "1"');
    is($r->{status}, 200, '200 OK');
    is($r->{json}{status}, 'ANALYZING', 'the case is ANALYZING');
    is($r->{headers}{etag}, '"2"', 'ETag "2"');
    my $illegal = curl('PATCH', "/case/$id/transition", '{"event":"exec_done"}', $key->('illegal'));
    is($illegal->{status}, 409, 'an event that is not legal here: 409');
    my $early = curl('PATCH', "/case/$id/transition", '{"event":"plan_ready"}', $key->('early'));
    is($early->{status}, 422, 'plan_ready without a plan: the guard says 422');
    is($early->{json}{missing}[0]{fact}, 'plan_complete', 'and what is missing');
};

my $plan;
subtest '3. POST /plan/generate -> plan_proposed' => sub {
    my $r = curl('POST', '/plan/generate', qq({"case_id":"$id","template":"change","params":{"canary":true,"service":"checkout"},"actor":"alice"}), $key->(3));
    is($r->{status}, 201, '201 Created') or diag($r->{body});
    $plan = $r->{json}{plan_id};
    ok($r->{json}{complete}, 'the template gives a complete plan');
    my $p = curl('GET', "/plan/$plan");
    is(scalar @{ $p->{json}{plan}{steps} }, 2, 'a canary and the rest: two steps');
    is($stack->pg->one('SELECT count(*) FROM aegis.plan_proposed WHERE case_id = ?', $id), 1, 'it is in plan_proposed');
    is(curl('GET', "/case/$id")->{json}{status}, 'ANALYZING', 'the case waits for a person');
};

subtest '4. PATCH plan_ready (guard: complete plan) -> WAIT_GATE' => sub {
    my $r = curl('PATCH', "/case/$id/transition", '{"event":"plan_ready","actor":"alice","reason":"looks good"}', $key->(4));
    is($r->{status}, 200, '200 OK') or diag($r->{body});
    is($r->{json}{status}, 'WAIT_GATE', 'the case is in WAIT_GATE');
    is($r->{json}{plan_id}, $plan, 'with that plan');
};

subtest '5. POST /gate/eval (approves by itself) -> plan_approved, EXECUTING' => sub {
    my $r = curl('POST', '/gate/eval', qq({"case_id":"$id","actor":"alice"}), $key->(5));
    is($r->{status}, 201, '201 Created') or diag($r->{body});
    is($r->{json}{verdict}, 'approved', 'the policy approves');
    is($stack->pg->one('SELECT count(*) FROM aegis.plan_approved WHERE case_id = ? AND plan_id = ?', $id, $plan), 1, 'it is in plan_approved');
    ok(in_state('EXECUTING'), 'the fact moves the case to EXECUTING');
};

my $exec;
subtest '6. POST /adapter/exec -> evt.exec.done.v1, VERIFYING' => sub {
    my $r = curl('POST', '/adapter/exec', qq({"case_id":"$id","actor":"alice"}), $key->(6));
    is($r->{status}, 202, '202 Accepted') or diag($r->{body});
    $exec = $r->{json}{exec_id};
    is($r->{headers}{location}, "/adapter/exec/$exec", 'Location is where to look');
    ok(in_state('VERIFYING'), 'the fact moves the case to VERIFYING');
    my $g = curl('GET', "/adapter/exec/$exec");
    is($g->{json}{state}, 'DONE', 'the run is done');
    is_deeply([ map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $g->{json}{steps} } ], ['step 1 OK', 'step 2 OK'], 'both steps succeeded');
    is($stack->pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject = 'evt.exec.step_result.v1'}, $id), 2, 'each step was announced');
};

subtest '7. POST /verify/run reads what was measured -> CLOSED' => sub {
    my $r = curl('POST', '/verify/run', qq({"case_id":"$id","actor":"alice"}), $key->(7));
    is($r->{status}, 201, '201 Created') or diag($r->{body});
    ok($r->{json}{passed}, 'the checks hold');
    my $c = in_state('CLOSED');
    ok($c, 'the fact closes the case') and is($c->{headers}{etag}, '"6"', 'at version 6');
};

subtest 'the timeline tells the story' => sub {
    my @t = @{ curl('GET', "/case/$id/timeline")->{json}{items} };
    my @moves = grep { $_->{kind} ne 'note' } @t;
    is_deeply([ map { join ' ', $_->{version}, $_->{from_status} // '-', $_->{event}, $_->{to_status}, $_->{rule} // '-' } @moves ],
        ['1 - create NEW -', '2 NEW start_analysis ANALYZING 110', '3 ANALYZING plan_ready WAIT_GATE 230',
         '4 WAIT_GATE gate_approved EXECUTING 410', '5 EXECUTING exec_done VERIFYING 510', '6 VERIFYING verify_pass CLOSED 610'],
        'six versions, each with its rule');
    is_deeply([ map { $_->{actor} } @moves[0 .. 2] ], ['alice', 'alice', 'alice'], 'a person did the first three');
    like($_->{principal}, qr/^aegis:fsm$/, "$_->{event} was the orchestrator's") for @moves[3 .. 5];
    is((grep { $_->{correlation_id} ne 'hand-loop' } @moves), 0, 'all under one correlation id');
    is((grep { $_->{reason} eq 'paged' || $_->{reason} eq 'looks good' } @moves), 2, 'with the reasons that were given');
    is($stack->pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject LIKE 'cmd.%'}, $id), 0,
        'no command was published: a person asked for everything');
    my $again = curl('PATCH', "/case/$id/transition", '{"event":"start_analysis","actor":"alice","reason":"paged","expected_version":1}',
        $key->(2), '-H', 'If-Match: "1"');
    is($again->{status}, 200, 'the second call, sent again now, answers as then');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'as a replay');
};

$stack->finish;
done_testing;
