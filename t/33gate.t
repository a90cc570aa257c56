# 33gate.t: the gatekeeper in full: people approve, n of m and four eyes, deny, time
# runs out, last voices meet, plans are edited, facts and workers are lost; rates of
# automatic approvals; change windows in real time zones; policies that are reloaded,
# checked and tried. Each on the running installation, by requests and aegisctl.
use v5.36;
use lib 't/lib';
use JSON::PP ();
use POSIX ();
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my ($http, $pg) = ($stack->http, $stack->pg);
my %who = map { $_ => $stack->http($_) } qw(bob carol dave second starter other);
my $n = 0;

sub policy (@rules) {
    return "version: 1\nvalid_s: 600\ngroups:\n  team: [bob, carol, quickstart]\n  pair-$$-" . ++$n . ": [dave]\nrules:" . (@rules ? "\n" : " []\n")
        . join '', map { "  - $_\n" } @rules;
}
my $two = '{id: two, kind: approval, approval: {need: 2, of: {groups: [team]}, expires_s: 600}}';

# An automatic case that waits at the gate; what waits.
sub waiting (%body) {
    my $c = Aegis::Case->create($http, title => 'wants approval', %body);
    return ($c, asked($c));
}

sub asked ($c) {
    my $w = wait_for('people to be asked', 30, sub { $who{bob}->get('/gate/' . $c->id)->json->{waiting} });
    ok($w, 'people are asked');
    return $w;
}

sub say_to ($who, $verb, $c, $hash, %more) {
    my $key = delete $more{key} // new_key($verb);
    return $who{$who}->write('POST', "/gate/$verb", { case_id => $c->id, plan_hash => $hash, %more }, key => $key);
}

sub decisions ($c) {
    return $pg->dbh->selectall_arrayref('SELECT * FROM aegis.gate_decision WHERE case_id = ? ORDER BY created_at', { Slice => {} }, $c->id);
}

sub parked ($c, $re) {
    my $j = $c->wait_state('PARKED', 30);
    ok($j, 'the case is parked') and like($j->{reason}, $re, "with the reason: $j->{reason}");
    my ($t) = grep { $_->{kind} ne 'note' } reverse $c->timeline;
    is($t->{event}, 'gate_rejected', 'by gate_rejected');
    is($t->{reason}, $j->{reason}, 'which the timeline has too');
    is($pg->one('SELECT count(*) FROM aegis.plan_approved WHERE case_id = ?', $c->id), 0, 'and nothing was approved');
}

my $undo = $stack->policy(policy($two));

subtest 'two of three people, and not oneself' => sub {
    my ($c, $w) = waiting();
    is($w->{state}, 'OPEN', 'the question is open');
    is_deeply($w->{proposers}, ['quickstart'], 'who opened the case stands behind the plan of a machine');
    is_deeply([ @{ $w->{needs}[0] }{qw(rule need four_eyes scope)} ], ['two', 2, JSON::PP::true(), ''], 'it says who is asked');
    my ($d) = @{ decisions($c) };
    is_deeply([ @$d{qw(verdict rule source)} ], ['needs_approval', 'two', 'policy'], 'the decision is stored with its rule');
    like($d->{reason}, qr/2 of team/, 'and why');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject = 'evt.plan.waiting.v1'}, $c->id), 1, 'who wants to hear it can');
    my ($i) = grep { $_->{case_id} eq $c->id } @{ $who{bob}->get('/gate/waiting?limit=200')->json->{items} };
    is($i->{request}{plan_hash}, $w->{plan_hash}, 'it is in the list of what waits');
    ok(@{ $i->{plan}{steps} }, 'with the plan itself');

    my $hash = $w->{plan_hash};
    is(say_to('starter', 'approve', $c, $hash)->problem, 'forbidden', 'who may start may not approve');
    is($who{bob}->write('POST', '/gate/eval', { case_id => $c->id })->problem, 'forbidden', 'and who may approve may not start');
    is(say_to('other', 'approve', $c, $hash)->status, 404, 'another tenant finds nothing');
    is(say_to('dave', 'approve', $c, $hash)->problem, 'not-an-approver', 'whom the policy does not name does not count');
    my $self = $http->write('POST', '/gate/approve', { case_id => $c->id, plan_hash => $hash });
    is($self->problem, 'not-an-approver', 'who proposed the plan does not count, with every scope');
    like($self->json->{detail}, qr/second person/, 'and is told why');
    is(say_to('bob', 'approve', $c, 'f' x 64)->problem, 'plan-changed', 'a voice names the plan');
    is($c->say('gate_approved', reason => 'by hand')->problem, 'guard-failed', 'nor can the event be said by hand');

    my $r = say_to('bob', 'approve', $c, $hash, comment => 'looks right');
    is($r->status, 200, 'a first voice is counted') or diag($r->brief);
    is($r->json->{verdict}, 'needs_approval', 'and is not enough');
    is(scalar @{ say_to('bob', 'approve', $c, $hash)->json->{votes} }, 1, 'the same person counts once');
    is($c->get->json->{status}, 'WAIT_GATE', 'nothing moves');
    $r = say_to('carol', 'approve', $c, $hash);
    is($r->status, 201, 'the last one decides') or diag($r->brief);
    is_deeply([ $r->json->{approved}, $r->json->{reason}, $r->json->{source} ], [JSON::PP::true(), 'approved by bob, carol', 'people'], 'with who it was');
    ok($c->wait_state('CLOSED', 40), 'and the case goes on to CLOSED');
    my @t = $c->timeline;
    is_deeply([ map { [@$_{qw(event actor reason)}] } grep { $_->{kind} eq 'note' } @t ],
        [['approval_requested', 'aegis:gate', $d->{reason}], ['approval_given', 'bob', 'approved: looks right'], ['approval_given', 'carol', 'approved']],
        'the timeline has each voice');
    my ($go) = grep { $_->{event} eq 'gate_approved' } @t;
    is($go->{reason}, 'approved by bob, carol', 'and why the plan ran');
    my $g = $who{bob}->get('/gate/' . $c->id)->json;
    is($g->{waiting}, undef, 'nothing waits any more');
    is_deeply([ map { $_->{verdict} } @{ $g->{decisions} } ], ['approved', 'needs_approval'], 'both decisions can be read');
    is_deeply([ map { $_->{principal} } @{ $g->{decisions}[0]{request}{votes} } ], ['bob', 'carol'], 'with the voices');
    is(say_to('carol', 'deny', $c, $hash)->problem, 'wrong-state', 'later voices change nothing');
};

subtest 'deny, by an approver and by who proposed it' => sub {
    for my $who (qw(carol default)) {
        my ($c, $w) = waiting();
        say_to('bob', 'approve', $c, $w->{plan_hash});
        local $who{default} = $http;
        my $r = say_to($who, 'deny', $c, $w->{plan_hash}, comment => 'not today');
        is($r->status, 201, "$who denies it") or diag($r->brief);
        parked($c, qr/^denied by \w+: not today$/);
        my $at = decisions($c)->[-1];
        is_deeply([ @$at{qw(verdict rule source)} ], ['rejected', 'two', 'people'], 'the decision says so');
        is($pg->one('SELECT state FROM aegis.gate_request WHERE case_id = ?', $c->id), 'DENIED', 'and so does the question');
    }
};

subtest 'silence is a no' => sub {
    my $short = $stack->policy(policy('{id: soon, kind: approval, approval: {need: 2, of: {groups: [team]}, expires_s: 2}}'));
    my ($c, $w) = waiting();
    is(say_to('bob', 'approve', $c, $w->{plan_hash})->status, 200, 'one of two approves in time');
    parked($c, qr/expired at .*: 1 of 2 approved: bob$/);
    my $d = decisions($c)->[-1];
    is_deeply([ @$d{qw(verdict rule source)} ], ['expired', 'soon', 'clock'], 'it is recorded as expired');
    is($pg->one('SELECT state FROM aegis.gate_request WHERE case_id = ?', $c->id), 'EXPIRED', 'and so is the question');
    cmp_ok($stack->metric('gate', 'aegis_gate_expired_total'), '>=', 1, 'and counted');

    # nobody is there to look at the clock
    my $gate = $stack->pid('gate');
    ($c, $w) = waiting();
    say_to('bob', 'approve', $c, $w->{plan_hash});
    kill 'STOP', $gate;
    ok(wait_for('the time to be over', 15, sub { $pg->one('SELECT now() > expires_at FROM aegis.gate_request WHERE case_id = ?', $c->id) }), 'the time is over');
    my $late = say_to('carol', 'approve', $c, $w->{plan_hash});
    is($late->problem, 'not-waiting', 'a voice that comes too late does not count') or diag($late->brief);
    kill 'CONT', $gate;
    parked($c, qr/expired/);
    $short->();
};

subtest 'last voices at the same time make one decision' => sub {
    my $any = $stack->policy(policy('{id: race, kind: approval, approval: {need: 2, of: {scope: "gate:approve"}}}'));
    for my $round (1 .. 4) {
        my ($c, $w) = waiting();
        my @r = $http->crowd([ map { my $p = $_; map { { method => 'POST', path => '/gate/approve', json => { case_id => $c->id, plan_hash => $w->{plan_hash} },
            headers => ['Idempotency-Key', new_key(), 'Authorization', 'Bearer ' . $stack->token($p)] } } 1 .. 3 } qw(bob carol dave second) ], connections => 12);
        is((grep { $_->status == 201 } @r), 1, "round $round: one voice is the last one") or diag(join ' ', map { $_->status } @r);
        is((grep { $_->status !~ /^(200|201|409)$/ } @r), 0, 'the others are counted, or come too late') or diag(join ' ', map { $_->brief } @r);
        ok($c->wait_state('CLOSED', 40), 'the case goes on');
        is($pg->one(q{SELECT count(*) FROM aegis.gate_decision WHERE case_id = ? AND source = 'people'}, $c->id), 1, 'one decision');
        is($pg->one('SELECT count(*) FROM aegis.plan_approved WHERE case_id = ?', $c->id), 1, 'one approval');
        is($pg->one('SELECT count(*) FROM aegis.exec_run WHERE case_id = ?', $c->id), 1, 'one run');
        is($pg->one('SELECT count(*) - count(DISTINCT principal) FROM aegis.gate_vote WHERE case_id = ?', $c->id), 0, 'nobody counts twice');
    }
    # one says yes, one says no
    for my $round (1 .. 4) {
        my ($c, $w) = waiting();
        say_to('dave', 'approve', $c, $w->{plan_hash});
        my @r = $http->crowd([ map { { method => 'POST', path => "/gate/$_->[1]", json => { case_id => $c->id, plan_hash => $w->{plan_hash} },
            headers => ['Idempotency-Key', new_key(), 'Authorization', 'Bearer ' . $stack->token($_->[0])] } } ['bob', 'approve'], ['carol', 'deny'] ]);
        is((grep { $_->status == 201 } @r), 1, "yes and no, round $round: one of them decides");
        my $yes = $r[0]->status == 201;
        ok($c->wait_state($yes ? 'CLOSED' : 'PARKED', 40), 'and the case goes where it said');
        is($pg->one('SELECT count(*) FROM aegis.plan_approved WHERE case_id = ?', $c->id), $yes ? 1 : 0, 'with an approval, or without');
    }
    $any->();
};

subtest 'an edited plan needs new voices' => sub {
    my ($c, $w) = waiting();
    say_to('bob', 'approve', $c, $w->{plan_hash});
    $c->must('force_park', reason => 'I want to change it');
    my $p = $c->post('/plan/generate', plan => Aegis::Case::echo_plan(title => 'another one'))->json;
    my $w2 = asked($c);
    isnt($w2->{plan_hash}, $w->{plan_hash}, 'the edited plan has another hash');
    is_deeply($w2->{votes}, [], 'no voice has come with it');
    is(say_to('carol', 'approve', $c, $w->{plan_hash})->problem, 'plan-changed', 'a voice for the old plan is refused');
    is(say_to('carol', 'approve', $c, $w2->{plan_hash})->json->{verdict}, 'needs_approval', 'and one for the new one is the first');
    ok(wait_for('the old question to be closed', 10, sub { $pg->one(q{SELECT count(*) FROM aegis.gate_request WHERE case_id = ? AND state = 'SUPERSEDED'}, $c->id) }),
        'the old question is closed');
    say_to('bob', 'approve', $c, $w2->{plan_hash});
    ok($c->wait_state('CLOSED', 40), 'two voices for the new plan let it run');

    ($c, $w) = waiting();
    say_to('bob', 'approve', $c, $w->{plan_hash});
    $pg->do(q{UPDATE aegis.plan_proposed SET plan = jsonb_set(plan::jsonb, '{steps,0,params}', '{"message":"evil"}')::json WHERE plan_id = ?}, $w->{plan_id});
    say_to('carol', 'approve', $c, $w->{plan_hash});
    parked($c, qr/hash/);
};

subtest 'an approval ends with the next question about the same plan' => sub {
    my ($c, $w) = waiting(mode => 'auto');
    say_to($_, 'approve', $c, $w->{plan_hash}) for qw(bob carol);
    ok($c->wait_state('CLOSED', 40), 'a plan was approved once');
    my $m = Aegis::Case->create($http, mode => 'manual')->drive('WAIT_GATE');
    my $free = $stack->policy(policy());
    is($m->post('/gate/eval')->json->{verdict}, 'approved', 'another one, without people');
    $m->wait_state('EXECUTING');
    $m->must('force_park');
    $free->();
    $m->must('plan_ready');
    is($m->post('/gate/eval')->json->{verdict}, 'needs_approval', 'comes again, and now people are asked');
    is($m->say('gate_approved')->problem, 'guard-failed', 'the approval of before is of no use');
};

subtest 'a gate that dies loses nothing' => sub {
    my ($c, $w) = waiting();
    say_to('bob', 'approve', $c, $w->{plan_hash});
    $stack->wait_worker('gate', $stack->kill_worker('gate'));
    say_to('carol', 'approve', $c, $w->{plan_hash});
    ok($c->wait_state('CLOSED', 40), 'voices from before and after count');
    my $short = $stack->policy(policy('{id: soon, kind: approval, approval: {expires_s: 3}}'));
    ($c) = waiting();
    my $old = $stack->kill_worker('gate');
    $stack->wait_worker('gate', $old);
    parked($c, qr/expired/);
    $short->();
};

subtest 'the reconciler leaves alone who waits, and finds what was lost' => sub {
    my $fast = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nreconcile:\n  after_s: 1\n  every_s: 1\n" }, 'relay');
    my ($c, $w) = waiting();
    my $analyst = $stack->pid('analyst');
    kill 'STOP', $analyst;
    my $stuck = Aegis::Case->create($http, title => 'stuck');
    ok(wait_for('the reconciler to nudge', 40, sub { $pg->one('SELECT nudges FROM aegis.ops_case WHERE case_id = ?', $stuck->id) >= 2 }), 'a stuck case is nudged twice');
    kill 'CONT', $analyst;
    is($pg->one('SELECT nudges FROM aegis.ops_case WHERE case_id = ?', $c->id), 0, 'one that waits for people is not');
    is(scalar @{ decisions($c) }, 1, 'and was asked about once');
    my $relay = $stack->pid('relay');
    say_to('bob', 'approve', $c, $w->{plan_hash});
    kill 'STOP', $relay;
    is(say_to('carol', 'approve', $c, $w->{plan_hash})->status, 201, 'people approve it');
    $pg->do(q{UPDATE aegis.outbox SET published_at = now() WHERE case_id = ? AND published_at IS NULL}, $c->id);
    kill 'CONT', $relay;
    ok($c->wait_state('CLOSED', 60), 'and when the fact of it is lost, it is said again');
    is($pg->one(q{SELECT count(*) FROM aegis.gate_decision WHERE case_id = ? AND source = 'people'}, $c->id), 1, 'without a second decision');
    $fast->();
    say_to('bob', 'deny', $stuck, asked($stuck)->{plan_hash});
};

subtest 'the policy of the last moment counts' => sub {
    my ($c, $w) = waiting();
    say_to('bob', 'approve', $c, $w->{plan_hash});
    my $ice = $stack->policy(policy($two, '{id: ice, kind: freeze, from: "2020-01-01", to: "2099-01-01"}'));
    my $r = say_to('carol', 'approve', $c, $w->{plan_hash});
    is_deeply([ $r->status, $r->json->{verdict}, $r->json->{rule} ], [201, 'rejected', 'ice'], 'a freeze that has begun refuses what people approve');
    parked($c, qr/^changes are frozen until 2099/);
    $ice->();
};
$undo->();

subtest 'so many automatic approvals and no more' => sub {
    my $rate = $stack->policy(policy("{id: often, kind: rate, max: 3, window_s: 3600, per: service}"));
    my $svc = "svc-$$-" . time;
    my @c = map { Aegis::Case->create($http, labels => { service => $svc }) } 1 .. 8;
    my %end;
    $end{ $_->wait_state(['CLOSED', 'PARKED'], 60)->{status} }++ for @c;
    is_deeply(\%end, { CLOSED => 3, PARKED => 5 }, 'of eight at once three are approved');
    my ($no) = grep { $_->get->json->{status} eq 'PARKED' } @c;
    like($no->get->json->{reason}, qr/3 of 3 automatic approvals for this service/, 'the others are told why');
    ok(Aegis::Case->create($http, labels => { service => "$svc-b" })->wait_state('CLOSED', 40), 'another service is not meant');
    my @m = map { Aegis::Case->create($http, mode => 'manual', labels => { service => "$svc-c" })->drive('WAIT_GATE') } 1 .. 8;
    my @r = $http->crowd([ map { { method => 'POST', path => '/gate/eval', json => { case_id => $_->id }, headers => ['Idempotency-Key', new_key()] } } @m ], connections => 8);
    is((grep { $_->status == 201 && $_->json->{verdict} eq 'approved' } @r), 3, 'nor are it more by requests at the same moment')
        or diag(join "\n", map { $_->brief } @r);
    is((grep { $_->status == 201 && $_->json->{rule} eq 'often' } @r), 5, 'the others are refused by the rule');
    $rate->();
    my $ask = $stack->policy(policy("{id: often, kind: rate, max: 0, window_s: 60, approval: {of: {principals: [bob]}}}"));
    my ($c, $w) = waiting(labels => { service => $svc });
    say_to('bob', 'approve', $c, $w->{plan_hash});
    ok($c->wait_state('CLOSED', 40), 'a rate may ask people instead');
    $ask->();
};

subtest 'whoever is near the maximum of a rate waits for all others, and who is far from it for nobody' => sub {
    my $spare = 256 * $pg->one(q{SELECT current_setting('max_connections')::int});
    my $tenant = "rate-$$-" . time;
    my ($one, $two) = map { $pg->connect(database => 'aegis') } 1, 2;
    my $lock = sub ($db, $max) {
        my $doc = json_encode({ counted => [ { per => 'tenant', max => $max, window_s => 3600 } ], artefact => { service => 's' } });
        $db->begin_work if $db->{AutoCommit};
        $db->do(q{SET LOCAL lock_timeout = '200ms'});
        my ($got) = eval { $db->selectrow_array(q{SELECT aegis.gate_lock_rates(ARRAY[?::text], ARRAY[?::json], ARRAY['ok'])}, undef, $tenant, $doc) };
        $db->rollback unless defined $got;
        return $got // 'waits';
    };
    for my $c ([$spare + 2, $spare, $spare + 2, $spare, 'two that are far'], [$spare + 2, $spare, 5, 'waits', 'far, near'],
        [5, 0, $spare + 2, 'waits', 'near, far'], [$spare, 0, $spare, 'waits', 'two that are near'])
    {
        is_deeply([ $lock->($one, $c->[0]), $lock->($two, $c->[2]) ], [ @$c[1, 3] ], $c->[4]);
        $_->{AutoCommit} || $_->rollback for $one, $two;
    }
    $_->disconnect for $one, $two;
    # what is left over has to be left over still when the lock is held
    my $doc = json_encode({ counted => [ { per => 'tenant', max => $spare + 1, window_s => 3600 } ], artefact => { service => 's' } });
    my $check = sub ($n) { $pg->one(q{SELECT array_to_string(aegis.gate_check(array_fill(?::text, ARRAY[?::int]), array_fill(?::uuid, ARRAY[?::int]), array_fill(1, ARRAY[?::int]),
        array_fill(?::json, ARRAY[?::int]), array_fill('ok'::text, ARRAY[?::int])), ' ')}, $tenant, $n, uuid, $n, $n, $doc, $n, $n) };
    is($check->(1), 'ok', 'one fits');
    is($check->(2), 'ok again', 'a second one is decided again, under the other lock');
};

subtest 'windows by the clock of a real time zone' => sub {
    my @day = qw(sun mon tue wed thu fri sat);
    local $ENV{TZ} = 'Pacific/Auckland';
    POSIX::tzset();
    my ($h, $m, $wd) = (localtime)[2, 1, 6];
    my $closed = sprintf '{id: there, kind: window, timezone: Pacific/Auckland, days: [%s], from: "%02d:%02d", to: "%02d:%02d"}',
        $day[ ($wd + 3) % 7 ], $h, $m, ($h + 1) % 24, $m;
    my $open = '{id: there, kind: window, timezone: Pacific/Auckland, days: [' . join(', ', @day[ $wd, ($wd + 1) % 7 ]) . '], from: "00:00", to: "24:00"}';
    my $shut = $stack->policy(policy($closed));
    my $zones = $pg->one('SELECT body -> \'zones\' FROM aegis.gate_policy ORDER BY revision DESC LIMIT 1');
    like($zones, qr/NZST-12NZDT/, 'the rules of its clock are in the database');
    my $c = Aegis::Case->create($http, kind => 'change');
    parked($c, qr/the window \S+ to \S+ is closed; it opens at \d{4}-/);
    is(decisions($c)->[0]{rule}, 'there', 'a change outside of its window is refused by the window');
    $shut->();
    my $now = $stack->policy(policy($open));
    ok(Aegis::Case->create($http, kind => 'change')->wait_state('CLOSED', 40), 'inside of it it runs');
    $now->();
    my $exception = $stack->policy(policy($closed =~ s/\}$/, approval: {of: {groups: [team]}}}/r));
    my ($x, $w) = waiting(kind => 'change');
    is($w->{rule}, 'there', 'a window may ask people instead');
    say_to('bob', 'approve', $x, $w->{plan_hash}, comment => 'it burns');
    ok($x->wait_state('CLOSED', 40), 'and a second person lets the exception through');
    $exception->();
};

subtest 'a policy is reloaded, and a bad one changes nothing' => sub {
    my $was = $pg->one('SELECT max(revision) FROM aegis.gate_policy');
    for my $bad (["version: 1\ntimezone: Europe/Atlantis\nrules: []\n", 'a zone that does not exist'],
            ["version: 1\nrules:\n  - {id: a, kind: approval, approval: {need: 2, of: {principals: [x]}}}\n", 'two of one'],
            ["version: 1\nzones: {}\nrules: []\n", 'zones of its own'], ["version: [\n", 'no YAML']) {
        my $errors = $stack->metric('gate', 'aegis_gate_policy_errors_total') // 0;
        my $back = $stack->conf_edit('policy.yaml', sub ($) { $bad->[0] }, 'gate');
        ok(wait_for('the gate to refuse it', 15, sub { $stack->metric('gate', 'aegis_gate_policy_errors_total') > $errors }), "$bad->[1] is refused");
        is($pg->one('SELECT max(revision) FROM aegis.gate_policy'), $was, 'and the old policy is in force');
        is($stack->metric('gate', 'aegis_gate_policy_ok'), 0, 'which a metric says');
        $back->();
        ok(wait_for('the gate to take the old one', 15, sub { $stack->metric('gate', 'aegis_gate_policy_ok') == 1 }), 'until the file is good again');
    }
};

subtest 'aegisctl gate and policy' => sub {
    my $bin = build_dir . '/aegisctl';
    my $ctl = sub (@args) { run([$bin, '--env-file', $stack->run_dir . '/aegis.env', @args], env => { NO_COLOR => 1, san_env }, timeout => 60) };
    my %token = map { $_ => spew(scratch() . "/token-$_", $stack->token($_) . "\n") } qw(bob carol);
    my $ask = $stack->policy(policy($two));
    my ($c, $w) = waiting(title => 'for the operator');
    my $l = $ctl->('gate', 'list', '--limit', 500);
    like($l->{out}, qr/^\Q@{[$c->id]}\E .*two +2 of team +0 of 2 approved/m, 'gate list shows what waits') or diag($l->{err});
    ok((grep { $_->{case_id} eq $c->id } @{ json_decode($ctl->('gate', 'list', '--limit', 500, '-o', 'json')->{out})->{items} }), 'as JSON too');
    my $r = $ctl->('gate', 'approve', $c->id);
    is($r->{rc}, 5, 'who proposed it is not allowed to approve it');
    like($r->{err}, qr/second person/, 'and is told why');
    $r = $ctl->('gate', 'approve', $c->id, '--token-file', $token{bob}, '--comment', 'fine');
    is($r->{rc}, 0, 'gate approve') or diag($r->{err});
    like($r->{out}, qr/1 of 2 approved: bob/, 'says how far it is');
    like($ctl->('gate', 'show', $c->id)->{out}, qr/so far +1 of 2 approved: bob.*bob +approve.*needs_approval/s, 'gate show shows voices and decisions');
    $r = $ctl->('gate', 'approve', $c->id, '--token-file', $token{carol}, '--plan-hash', 'f' x 64);
    is($r->{rc}, 1, 'another plan is refused');
    is($ctl->('gate', 'approve', $c->id, '--token-file', $token{carol})->{rc}, 0, 'the last voice');
    ok($c->wait_state('CLOSED', 40), 'lets the case run');
    ($c, $w) = waiting();
    $r = $ctl->('gate', 'deny', $c->id, '--token-file', $token{bob}, '--comment', 'no', '-o', 'json');
    is(eval { json_decode($r->{out})->{reason} }, 'denied by bob: no', 'gate deny as JSON');
    parked($c, qr/denied by bob/);
    is($ctl->('gate', 'approve', $c->id, '--token-file', $token{bob})->{rc}, 1, 'what does not wait cannot be approved');
    is($ctl->('gate', 'show', uuid)->{rc}, 4, 'a case that is not there');
    $ask->();

    my $good = spew(scratch() . '/good.yaml', "version: 1\ntimezone: Europe/Berlin\nrules:\n  - {id: nobody, kind: tenants, allow: []}\n");
    $r = run([$bin, 'policy', 'check', $good], env => { NO_COLOR => 1, san_env });
    is($r->{rc}, 0, 'policy check needs no server') or diag($r->{err});
    like($r->{out}, qr/in order.*nobody +tenants/s, 'and shows the rules');
    my $bad = spew(scratch() . '/bad.yaml', "version: 1\nrules:\n  - {id: w, kind: window, from: \"25:00\", to: \"26:00\", timezone: Mars/Base}\n");
    $r = run([$bin, 'policy', 'check', $bad], env => { NO_COLOR => 1, san_env });
    is($r->{rc}, 1, 'a bad policy is refused');
    like($r->{out}, qr{/rules/0/from.*/rules/0/to}s, 'with a pointer to each fault');
    $bad = spew(scratch() . '/zone.yaml', "version: 1\nrules:\n  - {id: w, kind: window, from: \"05:00\", to: \"06:00\", timezone: Mars/Base}\n");
    $r = run([$bin, 'policy', 'check', $bad, '-o', 'json'], env => { NO_COLOR => 1, san_env });
    is(eval { json_decode($r->{out})->[0]{pointer} }, '/rules/0/timezone', 'a zone that does not exist is one');

    my $t = json_decode($ctl->('policy', 'test', '--policy', $good, '--limit', 20, '-o', 'json')->{out});
    is($t->{decisions}, 20, 'policy test judges what was decided');
    cmp_ok($t->{differ}, '>', 0, 'and finds what would differ');
    is_deeply([ @{ $t->{items}[0] }{qw(new_verdict new_rule)} ], ['rejected', 'nobody'], 'with the new verdict and rule');
    is((grep { $_->{verdict} eq 'rejected' && $_->{rule} eq 'nobody' } @{ $t->{items} }), 0, 'and only that');
    $r = $ctl->('policy', 'test', '--policy', $good, '--limit', 5, '--strict');
    is($r->{rc}, 1, '--strict makes it an exit code');
    like($r->{out}, qr/^TIME .*WOULD BE.*\d+ of 5 decisions would differ\n\z/s, 'as a table too');
    my $same = $stack->run_dir . '/conf/policy.yaml';
    my ($fresh) = waiting_not();
    my $s = json_decode($ctl->('policy', 'test', '--policy', $same, '--limit', 1, '--all', '-o', 'json')->{out});
    is($s->{differ}, 0, 'the policy in force would decide the same');
    is($s->{items}[0]{case_id}, $fresh->id, 'about the newest decision');
};

sub waiting_not () {
    my $c = Aegis::Case->create($http);
    $c->wait_state('CLOSED', 40);
    return $c;
}

$stack->finish;
done_testing;
