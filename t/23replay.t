# 23replay.t: suite 2 of document 000: a replayed key answers the first response
# byte for byte and changes nothing. For every route that writes, for successes
# and for the refusals that are remembered; and what is not remembered, other
# requests under a used key, races for one key, and the 24 hours.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Def;
use Aegis::Pg;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my @kept = qw(etag location content-type);

sub same ($again, $first, $what) {
    is($again->status, $first->status, "$what: the same status") or diag($again->brief);
    ok($again->body eq $first->body, "$what: the same body, byte for byte")
        or diag("first " . $first->body . "\nthen  " . $again->body);
    is($again->header($_), $first->header($_), "$what: the same $_") for @kept;
    is($again->header('idempotent-replayed'), 'true', "$what: Idempotent-Replayed: true");
    is($first->header('idempotent-replayed'), undef, "$what: the first answer had no such header");
}

# A write, then its replays: from here, from a new connection, with the key
# written in the other form, with headers that have changed meanwhile.
sub replayed ($what, $method, $path, $json, %req) {
    my $key = $req{key} // new_key();
    my $body = json_encode($json);
    my $first = $http->write($method, $path, $body, %req, key => $key);
    subtest $what => sub {
        is($first->status, $req{status}, "the first answer is $req{status}") or diag($first->brief);
        is($first->problem, $req{problem}, "a $req{problem}") if $req{problem};
        $stack->quiet;
        my $before = $pg->fingerprint;
        my $replays = $stack->metric('gateway', 'idempotent_replay_total') // 0;
        my $n = 0;
        for my $how (['again', $http], ['on a new connection', $http->with], ['with the key in quotes', $http, "\"$key\""],
                ['with a parameter behind it', $http, "\"$key\";v=1"],
                ['with If-Match of long ago', $http, $key, '"1"'], ['with another trace', $http, $key, undef, 1]) {
            my ($name, $from, $form, $if_match, $trace) = @$how;
            my @h = $trace ? ('traceparent', '00-' . 'f' x 32 . '-' . 'e' x 16 . '-01') : ();
            same($from->write($method, $path, $body, key => $form // $key, if_match => $if_match // $req{if_match}, headers => \@h),
                $first, $name);
            $n++;
        }
        is_deeply([ Aegis::Pg::changed($before, $pg->fingerprint) ], [], 'and nothing in the database changed');
        cmp_ok($stack->metric('gateway', 'idempotent_replay_total'), '>=', $replays + $n, 'idempotent_replay_total counts them');
        for my $other (['another body', $method, $path, json_encode({ %$json, ($path =~ /(?:cancel|analyze.run)$/ ? 'reason' : $path =~ /hint$/ ? 'query_hint' : $path eq '/kb/ingest' ? 'title' : 'correlation_id') => 'somebody else' })],
                ['the same body with a blank more', $method, $path, "$body "],
                ['another route', $path eq '/case/create' ? ('POST', '/gate/eval', json_encode({ case_id => uuid }))
                    : ('POST', '/case/create', json_encode({ title => 'x' }))]) {
            my ($name, @request) = @$other;
            my $r = $http->write(@request, key => $key);
            is($r->status, 422, "$name under the key is 422");
            is($r->problem, 'idempotency-key-reused', 'the key was used for another request');
        }
        is_deeply([ Aegis::Pg::changed($before, $pg->fingerprint) ], [], 'which changes nothing either');
    };
    return $first;
}

# --- every route that writes
my $id = replayed('POST /case/create', 'POST', '/case/create', { title => 'once', mode => 'manual' }, status => 201)->json->{case_id};
my $case = bless { http => $http, id => $id }, 'Aegis::Case';
my $at = "/case/$id/transition";
replayed('PATCH transition', 'PATCH', $at, { event => 'start_analysis', reason => 'once' }, status => 200, if_match => '"1"');
replayed('PATCH transition, illegal', 'PATCH', $at, { event => 'exec_done' }, status => 409, problem => 'illegal-transition');
replayed('PATCH transition, guard', 'PATCH', $at, { event => 'plan_ready' }, status => 422, problem => 'guard-failed');
replayed('PATCH transition, If-Match', 'PATCH', $at, { event => 'force_park' }, status => 412, problem => 'version-mismatch', if_match => '"9"');
replayed('PATCH transition, expected_version', 'PATCH', $at, { event => 'force_park', expected_version => 9 }, status => 409, problem => 'version-conflict');
replayed('POST /kb/ingest', 'POST', '/kb/ingest', { source => "replay $$", body => "# Once\n\nand once only\n" }, status => 202);
replayed('POST /plan/generate', 'POST', '/plan/generate', { case_id => $id, plan => Aegis::Case::echo_plan() }, status => 201);
replayed('POST /gate/eval, too early', 'POST', '/gate/eval', { case_id => $id }, status => 409, problem => 'wrong-state');
replayed('POST /adapter/exec, too early', 'POST', '/adapter/exec', { case_id => $id }, status => 409, problem => 'wrong-state');
replayed('POST /verify/run, too early', 'POST', '/verify/run', { case_id => $id }, status => 409, problem => 'wrong-state');
# people's voices, under a policy that lets one approve one's own
{
    my $undo = $stack->policy("version: 1\nrules:\n  - {id: ask-$$, kind: approval, approval: {four_eyes: false}}\n");
    for my $say (['POST', '/gate/approve', 'gate_approved'], ['POST', '/gate/deny', 'gate_rejected']) {
        my $c = Aegis::Case->create($http, mode => 'manual')->drive('WAIT_GATE');
        my $asked = replayed("POST /gate/eval that asks, before $say->[1]", 'POST', '/gate/eval', { case_id => $c->id }, status => 201);
        replayed("$say->[0] $say->[1], another plan", $say->[0], $say->[1], { case_id => $c->id, plan_hash => 'f' x 64 }, status => 409, problem => 'plan-changed');
        replayed("$say->[0] $say->[1]", $say->[0], $say->[1], { case_id => $c->id, plan_hash => $asked->json->{plan_hash} }, status => 201);
        ok($c->wait_state($say->[2] =~ /approved/ ? 'EXECUTING' : 'PARKED'), 'and the case goes on');
        is($pg->one('SELECT count(*) FROM aegis.gate_vote WHERE case_id = ?', $c->id), 1, 'with one voice');
    }
    $undo->();
}
replayed('POST /analyze/run', 'POST', '/analyze/run', {}, status => 202);
replayed('POST /ingest/hint', 'POST', '/ingest/hint', Aegis::Case::hint(case_id => $id), status => 201);
is($pg->one('SELECT count(*) FROM aegis.oo_locator WHERE case_id = ? AND dataset = ?', $id, 'logs'), 1, 'one locator');
replayed('PATCH plan_ready', 'PATCH', $at, { event => 'plan_ready' }, status => 200);
replayed('POST /gate/eval', 'POST', '/gate/eval', { case_id => $id }, status => 201);
ok($case->wait_state('EXECUTING'), 'the case goes on to EXECUTING');
replayed('POST /adapter/exec', 'POST', '/adapter/exec', { case_id => $id }, status => 202);
ok($case->wait_state('VERIFYING'), 'and to VERIFYING');
{
    my $case_id = $id;
    my $id = $pg->one('SELECT exec_id FROM aegis.exec_run WHERE case_id = ?', $case_id);
    replayed('POST /exec/{id}/cancel, too late', 'POST', "/exec/$id/cancel", { reason => 'late' }, status => 409, problem => 'wrong-state');
}
replayed('POST /verify/run', 'POST', '/verify/run', { case_id => $id }, status => 201);
ok($case->wait_state('CLOSED'), 'and to CLOSED, once each');
is($pg->one('SELECT count(*) FROM aegis.exec_run WHERE case_id = ?', $id), 1, 'one run was made');
is($pg->one('SELECT count(*) FROM aegis.gate_decision WHERE case_id = ?', $id), 1, 'one decision');
is($pg->one('SELECT count(*) FROM aegis.plan_proposed WHERE case_id = ?', $id), 1, 'one plan');
is($pg->one('SELECT count(*) FROM aegis.verify_checkpoint WHERE case_id = ?', $id), 1, 'one checkpoint');

{
    my @writes = map { $_->[2] } grep { $_->[5] ne 'none' } def_rows('routes', 'AEGIS_ROUTE');
    my $me = slurp(root . '/t/23replay.t');
    is_deeply([ grep { my $p = $_ =~ s/\{id\}/\$id/r; index($me, $p) < 0 } @writes ], [], 'every route that writes was replayed');
}

# --- what is not remembered can be sent again under its key
subtest 'a request that was not understood leaves its key free' => sub {
    for my $c (['malformed JSON', '{"title":', 400], ['a schema violation', '{"title":""}', 422], ['a foreign tenant', '{"title":"x","tenant":"other"}', 403]) {
        my $key = new_key();
        is($http->write('POST', '/case/create', $c->[1], key => $key)->status, $c->[2], "$c->[0] is refused");
        my $r = $http->write('POST', '/case/create', { title => 'now well', mode => 'manual' }, key => $key);
        is($r->status, 201, 'the corrected request under the same key is carried out');
        is($r->header('idempotent-replayed'), undef, 'as a first one');
    }
    my $key = new_key();
    my $ghost = uuid;
    is($http->write('PATCH', "/case/$ghost/transition", { event => 'resume' }, key => $key)->status, 404, 'an unknown case is 404');
    is($http->write('POST', '/case/create', { title => 'x', mode => 'manual' }, key => $key)->status, 201, 'and leaves its key free too');
};

# --- races
subtest 'one key on many connections has one effect' => sub {
    for my $round (1 .. 5) {
        my $key = new_key("race$round");
        my $tag = new_key('racetag');
        my @r = $http->crowd([ map { { method => 'POST', path => '/case/create', json => { title => 'race', mode => 'manual', tags => [$tag] },
            headers => ['Idempotency-Key', $_ % 2 ? $key : "\"$key\""] } } 1 .. 32 ], connections => 32);
        my @ok = grep { $_->status == 201 } @r;
        my @flight = grep { $_->problem eq 'idempotency-key-in-flight' } @r;
        is(@ok + @flight, 32, "round $round: each is the answer, or says that it is on its way");
        is((grep { !$_->header('idempotent-replayed') } @ok), 1, 'one was the first');
        is(scalar(keys %{ { map { $_->body => 1 } @ok } }), 1, 'all answers are the same');
        is((grep { ($_->header('retry-after') // '') !~ /^\d+$/ } @flight), 0, 'those on their way have Retry-After');
        is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', $tag), 1, 'there is one case');
    }
    my $c = Aegis::Case->create($http, mode => 'manual');
    my $key = new_key();
    my @r = $http->crowd([ map { { method => 'PATCH', path => '/case/' . $c->id . '/transition', json => { event => 'force_park' },
        headers => ['Idempotency-Key', $key, 'If-Match', '"1"'] } } 1 .. 32 ], connections => 32);
    is((grep { $_->status == 200 } @r) + (grep { $_->problem eq 'idempotency-key-in-flight' } @r), 32,
        'a transition sent 32 times at once: 200, or on its way; never 412') or diag(join ' ', map { $_->status } @r);
    is($c->version, 2, 'and it happened once');
};

# --- the window
subtest 'a key is remembered for 24 hours' => sub {
    my $key = new_key();
    my %body = (title => 'remembered', mode => 'manual');
    my $first = $http->write('POST', '/case/create', \%body, key => $key);
    my $age = sub ($interval) {
        $pg->do('UPDATE aegis.idempotency SET created_at = now() - ?::interval, day = ((now() - ?::interval) AT TIME ZONE \'UTC\')::date
            WHERE key = ?', $interval, $interval, $key);
    };
    $age->('23 hours 59 minutes');
    same($http->write('POST', '/case/create', \%body, key => $key), $first, 'after 23 h 59 min');
    $age->('24 hours 1 minute');
    my $r = $http->write('POST', '/case/create', \%body, key => $key);
    is($r->status, 201, 'after 24 h 1 min it is a new request');
    isnt($r->json->{case_id}, $first->json->{case_id}, 'with an effect of its own');
    same($http->write('POST', '/case/create', \%body, key => $key), $r, 'and remembered anew');
};

$stack->finish;
done_testing;
