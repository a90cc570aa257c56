# 24parked.t: suite 3 of document 000: every failure lands in PARKED with its
# reason, and can be resumed. Analyst, planner, guard, each rule of the gate,
# the executor's three ways to fail, the verifier's two; each by the part that
# really fails, and each is then brought to CLOSED.
use v5.36;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;

# It is parked by this event, and timeline, case and message say why.
sub parked_by ($c, $event, $reason, $actor = undef) {
    my $j = $c->wait_state('PARKED', 40);
    ok($j, 'the case is parked') or return;
    my ($t) = grep { $_->{kind} ne 'note' } reverse $c->timeline;
    is($t->{event}, $event, "by $event");
    like($t->{reason}, $reason, "the timeline says why: $t->{reason}");
    is($j->{reason}, $t->{reason}, 'and so does the case');
    ok(length $t->{actor}, "and who: $t->{actor}");
    my $msg = $pg->row(q{SELECT data FROM aegis.outbox WHERE case_id = ? AND version = ? AND subject = 'evt.case.transition.v1'},
        $c->id, $t->{version});
    is(json_decode($msg->{data})->{reason}, $t->{reason}, 'and the message about it');
    return $t;
}

# A repaired cause, or a plan by hand: either way it goes on to the end.
sub closes ($c, $how) {
    my $j = $c->wait_state('CLOSED', 60);
    ok($j, "$how, it goes on to CLOSED");
}

sub by_hand ($c) {
    my $r = $c->post('/plan/generate', plan => Aegis::Case::echo_plan());
    is($r->status, 201, 'a plan can be given by hand to a parked case') or diag($r->brief);
    closes($c, 'with it');
}

my $n = 0;
sub policy_with (@rules) {
    return "version: 1\ntimezone_offset: \"+00:00\"\nvalid_s: 600\nrules:\n" . join '', map { "  - $_\n" } @rules,
        "{id: never-$$-" . ++$n . ", kind: environments, allow: [default, dev, staging, prod]}";
}
my %any = (actions => '{id: any-action, kind: actions, allow: [echo, script.exec, no.such]}');

subtest 'the analyst could not finish' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
    $stack->publish_fact('evt.analysis.failed.v1', case_id => $c->id, version => 2, data => { reason => 'no metrics at all' });
    parked_by($c, 'analysis_failed', qr/no metrics at all/);
    is($c->must('start_analysis')->json->{status}, 'ANALYZING', 'it can be looked at again');
    $c->drive('CLOSED');
    pass('and by hand it goes on to CLOSED');
};

subtest 'the planner could not make a plan' => sub {
    my $c = Aegis::Case->create($http, labels => { risk => 'rather high' });
    parked_by($c, 'plan_failed', qr/risk/i);
    by_hand($c);
};

subtest 'a plan that is not complete' => sub {
    my $go_on = $stack->hold('planner');
    my $planner = $stack->pid('planner');
    my $c = Aegis::Case->create($http);
    ok($c->wait_state('PLANNING'), 'while the planner sleeps a case waits in PLANNING');
    my $p = $c->post('/plan/generate', plan => Aegis::Case::echo_plan(rollback => undef, verify => undef));
    is_deeply($p->json->{missing}, ['rollback', 'verify'], 'and gets half a plan')
        or diag(join "\n", $p->brief, slurp("/proc/$planner/status") =~ /^(State:.*)/m, 'the planner is now ' . ($stack->pid('planner') // 'gone') . ", held: $planner",
            map { "$_->{created_at} $_->{version} $_->{kind} " . ($_->{event} // '') . " $_->{actor}" } $c->timeline,
            substr slurp($stack->run_dir . '/log/planner.log'), -3000);
    my $t = parked_by($c, 'force_park', qr/plan/);
    $go_on->();
    like($t->{reason}, qr/revision 1 lacks rollback and verify/, 'the reason names what is missing') if $t;
    by_hand($c);
};

# --- the gate: each kind of rule
my $then = (qw(sun mon tue wed thu fri sat))[ (gmtime time + 3 * 86400)[6] ];
for my $rule (
    ['environments', {}, { env => 'moonbase' }, qr/moonbase|environment/i, undef],
    ['risk',         {}, { risk => '0.95' }, qr/risk/i, undef],
    ['risk for prod', {}, { env => 'prod', risk => '0.5' }, qr/risk/i, undef],
    ['actions',      {}, {}, qr/echo|action/i, policy_with('{id: no-echo, kind: actions, allow: [script.exec]}')],
    ['window',       { kind => 'change' }, { env => 'prod' }, qr/window/i,
        policy_with("{id: later, kind: window, days: [$then], from: \"10:00\", to: \"10:01\"}")],
) {
    my ($what, $body, $labels, $reason, $policy) = @$rule;
    subtest "the gate refuses by $what" => sub {
        my $undo = $policy ? $stack->policy($policy) : sub { };
        my $c = Aegis::Case->create($http, %$body, labels => $labels);
        parked_by($c, 'gate_rejected', $reason);
        my $d = $pg->row('SELECT * FROM aegis.gate_decision WHERE case_id = ?', $c->id);
        is($d->{verdict}, 'rejected', 'the decision is stored');
        ok(length $d->{rule}, "with the rule that decided: $d->{rule}");
        is($pg->one('SELECT count(*) FROM aegis.plan_approved WHERE case_id = ?', $c->id), 0, 'and no approval');
        $undo->();
        if ($policy) {
            my $open = $stack->policy(policy_with($any{actions}));
            $c->must('resume', reason => 'the policy was changed');
            closes($c, 'resumed under another policy');
            $open->();
        }
        else { by_hand($c) }
    };
}

# --- the executor
$stack->add_script('t-fail.sh', "#!/bin/sh\n# fails as it is told\necho to stdout\necho 'the disk is full' >&2\nexit 3\n");
$stack->add_script('t-sleep.sh', "#!/bin/sh\n# never ends by itself\nexec sleep 600\n");
my $open = $stack->policy(policy_with($any{actions}));

sub run_plan (@steps) {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => { steps => \@steps });
    my $r = $c->post('/adapter/exec');
    is($r->status, 202, 'the run is accepted') or diag($r->brief);
    return ($c, $r->json->{exec_id});
}

sub run_steps ($exec) { return @{ $http->get("/exec/$exec")->json->{steps} } }

subtest 'a script fails' => sub {
    my ($c, $exec) = run_plan({ name => 'first', action => 'echo', params => { message => 'hello' } },
        { name => 'bad', action => 'script.exec', params => { script => 't-fail.sh' }, retry_safe => JSON::PP::true(), retry => { max => 2, backoff_ms => 10 } },
        { name => 'never', action => 'echo' });
    parked_by($c, 'exec_failed', qr/bad|t-fail|exit code 3|step 2/i);
    my @s = run_steps($exec);
    is_deeply([ map { "$_->{phase} $_->{step_no} $_->{attempt} $_->{state}" } @s ],
        ['step 1 1 OK', 'step 2 1 FAILED', 'step 2 2 FAILED', 'step 2 3 FAILED', 'rollback 1 1 OK'],
        'it was tried as often as the plan says, the step after it never, then the rollback ran');
    is($s[1]{exit_code}, 3, 'the exit code is kept');
    my $err = $s[1]{output}{stderr};
    is($s[1]{stderr_ref}, "oo_locator:$err->{locator_id}", 'and where its stderr is');
    is($pg->one('SELECT object_key FROM aegis.oo_locator WHERE locator_id = ?', $err->{locator_id}), $err->{key}, 'as a locator');
    like(slurp($stack->run_dir . "/objects/$err->{key}"), qr/the disk is full/, 'of the object that holds what it said');
    is($http->get("/exec/$exec")->json->{state}, 'FAILED', 'the run has failed');
    my $again = $c->drive('CLOSED');
    pass('with another plan it goes on to CLOSED');
};

subtest 'a script takes too long' => sub {
    my ($c, $exec) = run_plan({ name => 'slow', action => 'script.exec', params => { script => 't-sleep.sh' }, timeout_s => 1 });
    parked_by($c, 'exec_failed', qr/time|slow/i);
    my ($s) = run_steps($exec);
    is($s->{state}, 'TIMEOUT', 'the step ended by its timeout');
    is((grep { $_ =~ /sleep\0600/ } map { eval { slurp($_) } // '' } glob '/proc/[0-9]*/cmdline'), 0, 'and the script is gone');
    $c->drive('CLOSED');
    pass('with another plan it goes on to CLOSED');
};

subtest 'an action that nobody knows' => sub {
    my ($c, $exec) = run_plan({ name => 'odd', action => 'no.such', params => { deployment => 'web' } });
    parked_by($c, 'exec_failed', qr/no\.such|odd|action/i);
    $c->drive('CLOSED');
    pass('with another plan it goes on to CLOSED');
};

subtest 'a script that is not there, or not to be run' => sub {
    for my $name ('t-nothing.sh', '..') {
        my $c = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
        my $r = $c->post('/plan/generate', plan => Aegis::Case::echo_plan(steps => [{ name => 'x', action => 'script.exec', params => { script => $name } }]));
        if ($r->status == 422) { pass("$name is refused with the plan already"); next }
        $c->must('plan_ready');
        $c->drive('EXECUTING');
        $c->post('/adapter/exec');
        parked_by($c, 'exec_failed', qr/script|t-nothing/);
    }
};
$open->();

# --- the verifier
my $check = sub ($resource, %more) { [ { kind => 'metric', resource => $resource, metric => 'err_rate', agg => 'avg', op => '<',
    threshold => 0.05, window_s => 1, min_samples => 60, %more } ] };

# The second that is looked at has gone by since the run ended.
sub window_over ($c) {
    return wait_for('the window to be over', 10, sub {
        $pg->one(q{SELECT max(finished_at) < now() - interval '1.1 s' FROM aegis.exec_run WHERE case_id = ?}, $c->id) });
}

subtest 'a check does not hold' => sub {
    my $res = 'urn:k8s:svc:t/' . new_key('svc');
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('VERIFYING', plan => { verify => $check->($res) });
    $stack->metrics_ahead($res, 'err_rate', 0.5);
    window_over($c);
    my $v = $c->post('/verify/run');
    is($v->status, 201, 'the verifier answers');
    ok(!$v->json->{passed}, 'that it does not pass');
    parked_by($c, 'verify_failed', qr/does not hold: err_rate avg 0\.[59]/);
    my $cp = $pg->row('SELECT * FROM aegis.verify_checkpoint WHERE case_id = ?', $c->id);
    like($cp->{checks}, qr/0\.5/, 'the checkpoint keeps what was measured');
    is_deeply([map { "$_->{phase} $_->{state}" } @{ $pg->rows(q{SELECT r.phase, r.state FROM aegis.exec_run r WHERE case_id = ? ORDER BY for_version}, $c->id) }],
        ['step DONE', 'rollback DONE'], 'the plan was rolled back, and that is recorded');
    $c->must('resume');
    $c->drive('VERIFYING', plan => { verify => $check->($res) });
    $stack->metrics_ahead($res, 'err_rate', 0.001);
    window_over($c);
    ok($c->post('/verify/run')->json->{passed}, 'when the errors are gone it passes');
    closes($c, 'resumed');
};

subtest 'too little was measured' => sub {
    my $res = 'urn:k8s:svc:t/' . new_key('svc');
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('VERIFYING', plan => { verify => $check->($res, deadline_s => 1) });
    $stack->metrics_1m($res, 'err_rate', 0.001, 0.001);
    my $v = $c->post('/verify/run');
    is($v->status, 202, 'no samples behind the change: nothing is decided yet');
    is($v->header('location'), '/verify/' . $v->json->{verify_id}, 'and where to look is said');
    parked_by($c, 'verify_failed', qr/inconclusive after \d+ s: err_rate avg: no samples/);
    $c->drive('CLOSED', plan => { verify => [{ kind => 'exec' }] });
    pass('with another check it goes on to CLOSED');
};

subtest 'by itself: the same in mode auto' => sub {
    my $res = 'urn:k8s:svc:t/' . new_key('svc');
    $stack->metrics_ahead($res, 'err_rate', 0.9);
    my $c = Aegis::Case->create($http, labels => { resource => $res, metric => 'err_rate', threshold => '0.05', window_s => '1', service => 'web' });
    parked_by($c, 'verify_failed', qr/does not hold: err_rate avg 0\.[59]/);
    $stack->metrics_ahead($res, 'err_rate', 0.001);
    $c->must('resume');
    closes($c, 'resumed after the repair');
};

subtest 'a person parks, wherever the case stands' => sub {
    for my $s (qw(NEW ANALYZING PLANNING WAIT_GATE)) {
        my $c = Aegis::Case->create($http, mode => 'manual')->drive($s);
        $c->must('force_park', reason => "stop it in $s");
        my $t = parked_by($c, 'force_park', qr/stop it in $s/);
        is($t->{actor}, 'quickstart', 'by whom');
        is($t->{from_status}, $s, "from $s");
        is($c->must('resume')->json->{status}, 'PLANNING', 'and it can be resumed');
    }
};

$stack->finish;
done_testing;
