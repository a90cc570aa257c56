# 42runs.t: a run on its way: what GET /exec/{id} shows while a step runs, the
# ways to end it (cancel with and without rollback, force_park), the limits per
# target and per executor, dry runs, and runs whose executor dies. No child of a
# step is alive when its step is over, and no run is RUNNING for ever.
use v5.36;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $effects = $stack->effect_file;

# Each says who it is in its arguments, so that its processes can be found.
$stack->add_script('t-talk.sh', "#!/bin/sh\n# talks for a while\ni=0\nwhile [ \$i -lt 600 ]; do echo \"line \$i of \$1\"; i=\$((i + 1)); sleep 0.1; done\n");
$stack->add_script('t-hold.sh', "#!/bin/bash\n# holds its place, and leaves children behind\n(trap '' TERM; exec -a held-\$1 sleep 900) &\nsetsid sh -c 'exec sleep 901' held-\$1 &\necho \"\$AEGIS_EXEC_ID \$AEGIS_PHASE \$AEGIS_STEP \$AEGIS_ATTEMPT\" >>$effects\nexec sleep \${2:-900}\n");
$stack->add_script('t-quick.sh', "#!/bin/sh\n# acts and is done\necho \"\$AEGIS_EXEC_ID \$AEGIS_PHASE \$AEGIS_STEP \$AEGIS_ATTEMPT\" >>$effects\n");

sub script ($name, @args) { return { name => $name =~ s/^t-|\.sh$//gr, action => 'script.exec', params => { script => $name, args => [map { "$_" } @args] } } }

# A case in EXECUTING by hand, and its run; wait: for a step to be RUNNING.
sub begin ($plan, %opt) {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => $plan);
    my $r = $c->post('/adapter/exec');
    die 'exec: ' . $r->brief . "\n" unless $r->status == 202;
    my $exec = $r->json->{exec_id};
    wait_for('a step to run', 20, sub { running($exec) }) unless $opt{no_wait};
    return ($c, $exec);
}

sub running ($exec) { return $pg->one(q{SELECT count(*) FROM aegis.exec_step WHERE exec_id = ? AND state = 'RUNNING'}, $exec) }
sub get ($exec) { return $http->get("/exec/$exec")->json }
sub acted ($exec) { return [ map { (split / /, $_, 2)[1] } grep { /^\Q$exec\E / } split /\n/, slurp($effects) ] }
sub over ($exec) { return wait_for('the run to end', 30, sub { my $r = get($exec); $r->{finished_at} ? $r : undef }) }

# Processes of a script by the token in their environment: whatever they call
# themselves and wherever they hang in the tree.
sub alive_of ($exec) {
    return grep { (eval { slurp("$_/environ") } // '') =~ /AEGIS_EXEC_ID=\Q$exec\E/ } glob '/proc/[0-9]*';
}

sub ended_without_trace ($exec, $what) {
    ok(wait_for("nothing of $what to be alive", 10, sub { !alive_of($exec) }), "$what: no process of it is alive");
}

subtest 'progress and tails while a step runs' => sub {
    my ($c, $exec) = begin({ steps => [{ name => 'first', action => 'echo', params => { message => 'here' } }, script('t-talk.sh', 'mine')] });
    my $seen = wait_for('output to show', 20, sub {
        my $r = get($exec);
        my ($s) = grep { $_->{step_no} == 2 } @{ $r->{steps} };
        return ($s->{output}{stdout}{tail} // '') =~ /line \d+ of mine/ ? $r : undef;
    });
    ok($seen, 'GET /exec/{id} shows what it has written so far') or return;
    is($seen->{state}, 'RUNNING', 'while it runs');
    is_deeply($seen->{progress}, { steps => 2, done => 1 }, 'and how far the run is');
    my ($first, $talk) = sort { $a->{step_no} <=> $b->{step_no} } @{ $seen->{steps} };
    is($first->{output}{stdout}{tail}, "here\n", 'a step that is over keeps its tail');
    is($talk->{stdout_ref}, 'oo_locator:' . $talk->{output}{stdout}{locator_id}, 'the output is a reference');
    my $l = $pg->row('SELECT * FROM aegis.oo_locator WHERE locator_id = ?', $talk->{output}{stdout}{locator_id});
    is($l->{dataset}, 'exec.stdout', 'to a row of oo_locator');
    is($l->{case_id}, $c->id, 'of this case');
    is($l->{object_key}, "$exec/step-2-1.out", 'with the key of the object');
    my $was = $talk->{output}{stdout}{bytes};
    ok(wait_for('more output', 10, sub { (grep { $_->{step_no} == 2 } @{ get($exec)->{steps} })[0]{output}{stdout}{bytes} > $was }), 'it grows');
    is($stack->http('other')->get("/exec/$exec")->status, 404, 'another tenant sees nothing of it');
    is($http->write('POST', "/exec/$exec/cancel", { reason => 'seen enough' })->status, 202, 'it can be cancelled');
    my $end = over($exec);
    is($end->{state}, 'CANCELLED', 'and is') or diag(explain($end));
    is($end->{reason}, 'cancelled by quickstart: seen enough; not rolled back', 'with the reason');
    my $j = $c->wait_state('PARKED', 20);
    ok($j, 'the case is parked') or return;
    is($j->{reason}, $end->{reason}, 'with the same reason');
    ended_without_trace($exec, 'the cancelled step');
};

subtest 'cancel with rollback' => sub {
    my ($c, $exec) = begin({ steps => [script('t-quick.sh'), script('t-hold.sh', 'roll')], rollback => [script('t-quick.sh')] }, no_wait => 1);
    ok(wait_for('the second step', 20, sub { (acted($exec)->[1] // '') eq 'step 2 1' }), 'the second step runs');
    my $began = time;
    my $key = new_key();
    my $r = $http->write('POST', "/exec/$exec/cancel", { reason => 'wrong way', rollback => JSON::PP::true() }, key => $key);
    is($r->status, 202, 'cancel is accepted') or diag($r->brief);
    is($r->json->{cancel}{by}, 'quickstart', 'and says who asked');
    is($http->write('POST', "/exec/$exec/cancel", { reason => 'wrong way', rollback => JSON::PP::true() }, key => $key)->header('Idempotent-Replayed'), 'true', 'the same again is a replay');
    my $end = over($exec);
    is($end->{state}, 'CANCELLED', 'the run is cancelled');
    is($end->{reason}, 'cancelled by quickstart: wrong way; rolled back', 'after its rollback');
    cmp_ok(time - $began, '<', 15 * (is_san ? 3 : 1), 'and soon');
    is_deeply(acted($exec), ['step 1 1', 'step 2 1', 'rollback 1 1'], 'which has acted, once');
    is_deeply([ map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $end->{steps} } ], ['step 1 OK', 'step 2 FAILED', 'rollback 1 OK'], 'everything is recorded');
    ok($c->wait_state('PARKED', 20), 'the case is parked');
    ended_without_trace($exec, 'the step');
    my $late = $http->write('POST', "/exec/$exec/cancel", {});
    is($late->status, 409, 'a run that is over cannot be cancelled');
    is($late->problem, 'wrong-state', 'because of its state');
    is($http->write('POST', '/exec/' . uuid() . '/cancel', {})->status, 404, 'nor one that is not there');
    is($stack->http('reader')->write('POST', "/exec/$exec/cancel", {})->status, 403, 'nor by who may only read');
};

subtest 'force_park kills what runs' => sub {
    my ($c, $exec) = begin({ steps => [script('t-hold.sh', 'park'), script('t-quick.sh')], rollback => [script('t-quick.sh')] });
    ok(wait_for('it to act', 10, sub { @{ acted($exec) } }), 'a step acts');
    my $began = time;
    $c->must('force_park', reason => 'stop it');
    my $end = over($exec);
    is($end->{state}, 'CANCELLED', 'the run is cancelled');
    cmp_ok(time - $began, '<', 8 * (is_san ? 3 : 1), 'at once');
    ended_without_trace($exec, 'the step');
    is_deeply(acted($exec), ['step 1 1'], 'nothing else has acted, the rollback neither');
    is_deeply([ map { "$_->{event}: $_->{reason}" } grep { $_->{kind} eq 'note' && $_->{event} =~ /^exec/ } $c->timeline ], [], 'and no late fact reaches the case');
    is((get($exec)->{steps}[0]{error} // '') =~ /^stopped: / ? 1 : 0, 1, 'the step says why it ended');
};

subtest 'a failure is rolled back, and both are recorded' => sub {
    my ($c, $exec) = begin({ steps => [script('t-quick.sh'), { %{ script('t-hold.sh', 'late', 900) }, timeout_s => 1 }],
        rollback => [script('t-quick.sh'), { name => 'say', action => 'echo', params => { message => 'undone' } }] }, no_wait => 1);
    my $end = over($exec);
    is($end->{state}, 'FAILED', 'a step that is not done in its time fails');
    like($end->{reason}, qr/^step 2 failed: hold: timed out after 1 s; rolled back$/, $end->{reason});
    is_deeply([ map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $end->{steps} } ],
        ['step 1 OK', 'step 2 TIMEOUT', 'rollback 1 OK', 'rollback 2 OK'], 'each attempt is there with its state');
    ended_without_trace($exec, 'the step that timed out');
    my $said = $pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject = 'evt.exec.step_result.v1'}, $c->id);
    is($said, 4, 'and each was told by evt.exec.step_result.v1');
    ok($c->wait_state('PARKED', 20), 'the case is parked');
};

subtest 'retries back off' => sub {
    $stack->add_script('t-third.sh', "#!/bin/sh\n# succeeds the third time\n[ \"\$AEGIS_ATTEMPT\" = 3 ]\n");
    my ($c, $exec) = begin({ steps => [{ %{ script('t-third.sh') }, retry => { max => 3, backoff_ms => 200 } }] }, no_wait => 1);
    my $end = over($exec);
    is($end->{state}, 'DONE', 'a step that succeeds in the end is done');
    is_deeply([ map { $_->{state} } @{ $end->{steps} } ], [qw(FAILED FAILED OK)], 'each attempt is recorded');
    my @gap = map { $_->{gap} } @{ $pg->rows(q{SELECT extract(epoch FROM started_at - lag(finished_at) OVER (ORDER BY attempt)) AS gap
        FROM aegis.exec_step WHERE exec_id = ? ORDER BY attempt}, $exec) };
    cmp_ok($gap[1], '>=', 0.15, "the first wait is about 200 ms: $gap[1]");
    cmp_ok($gap[2], '>=', 0.3, "the second about twice that: $gap[2]");
};

subtest 'one target, one attempt' => sub {
    my $target = new_key('target');
    my @runs = map { [begin({ steps => [{ %{ script('t-hold.sh', "t$_", '1') }, target => $target }] }, no_wait => 1)] } 1 .. 3;
    my ($most, $waited) = (0, 0);
    my %end;
    ok(wait_for('all of them to end', 40, sub {
        my $n = $pg->one(q{SELECT count(*) FROM aegis.exec_step WHERE target = ? AND state = 'RUNNING'}, $target);
        $most = $n if $n > $most;
        for my $r (@runs) {
            my $g = get($r->[1]);
            $waited = 1 if ($g->{waiting_for} // '') eq $target;
            $end{ $r->[1] } = $g if $g->{finished_at};
        }
        return keys %end == 3;
    }), 'three runs act upon one target');
    is($most, 1, 'one at a time');
    is($waited, 1, 'and those that wait say for what');
    is_deeply([ map { $_->{state} } values %end ], [qw(DONE DONE DONE)], 'all of them get there');
    my $over = $pg->one(q{SELECT count(*) FROM aegis.exec_step a JOIN aegis.exec_step b ON a.target = b.target AND a.exec_id < b.exec_id
        AND a.started_at < b.finished_at AND b.started_at < a.finished_at WHERE a.target = ?}, $target);
    is($over, 0, 'no two of them at the same time');
    cmp_ok($stack->metric('exec', 'aegis_exec_target_busy_total'), '>=', 2, 'which is counted');
};

subtest 'a target that stays busy fails the step in its time' => sub {
    my $target = new_key('target');
    my ($c1, $long) = begin({ steps => [{ %{ script('t-hold.sh', 'long') }, target => $target }] });
    my ($c2, $short) = begin({ steps => [{ %{ script('t-quick.sh') }, target => $target, timeout_s => 1 }] }, no_wait => 1);
    my $end = over($short);
    like($end->{reason}, qr/its target was busy for \d s/, $end->{reason});
    is_deeply([ grep { /^step/ } @{ acted($short) } ], [], 'and it has not acted');
    $http->write('POST', "/exec/$long/cancel", {});
    ok(over($long), 'the other is ended');
    ended_without_trace($long, 'the long one');
};

subtest 'a dry run changes nothing' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('PLANNING');
    $c->plan(steps => [script('t-quick.sh'), { name => 'say', action => 'echo', params => { message => 'x' } }], rollback => [script('t-missing.sh')]);
    my $r = $c->post('/adapter/exec', dry_run => JSON::PP::true());
    is($r->status, 202, 'it is accepted before anybody has approved the plan') or diag($r->brief);
    my $exec = $r->json->{exec_id};
    my $end = over($exec);
    is($end->{dry_run}, JSON::PP::true(), 'it says what it is');
    is($end->{state}, 'FAILED', 'a check that does not hold fails it');
    like($end->{reason}, qr/^check of step 3 failed: .*t-missing\.sh/, $end->{reason});
    is_deeply([ map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $end->{steps} } ], ['check 1 OK', 'check 2 OK', 'check 3 FAILED'], 'every step and rollback step is checked');
    is_deeply(acted($exec), [], 'nothing has acted');
    is($c->get->json->{status}, 'PLANNING', 'and the case is where it was');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject LIKE 'evt.exec.%' AND subject <> 'evt.exec.step_result.v1'}, $c->id), 0, 'no fact says that it was executed');
    $c->plan(steps => [script('t-quick.sh')]);
    my $good = over($c->post('/adapter/exec', dry_run => JSON::PP::true())->json->{exec_id});
    is($good->{state}, 'DONE', 'a plan whose checks hold is DONE');
};

subtest 'an executor that is killed' => sub {
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { $y =~ s/^(exec:\n)/$1  lease_s: 3\n/mr }, 'exec');
    my ($c1, $once) = begin({ steps => [script('t-hold.sh', 'once', 900)], rollback => [script('t-quick.sh')] });
    my ($c2, $safe) = begin({ steps => [{ %{ script('t-hold.sh', 'safe', 2) }, retry_safe => JSON::PP::true() }] });
    ok(wait_for('both to act', 10, sub { @{ acted($once) } && @{ acted($safe) } }), 'two runs act');
    my $pid = $stack->kill_worker('exec');
    my $killed = time;
    ended_without_trace($once, 'the killed executor\'s step');
    $stack->wait_worker('exec', $pid);
    my $end = over($once);
    cmp_ok(time - $killed, '<', 30, sprintf('after %.1f s its run has an end', time - $killed));
    is($end->{state}, 'FAILED', 'a step that is not retry_safe is not made again');
    like($end->{reason}, qr/^outcome of step 1 unknown: .*not rolled back$/, $end->{reason});
    is_deeply(acted($once), ['step 1 1'], 'it has acted once');
    my $j = $c1->wait_state('PARKED', 20);
    ok($j, 'the case is parked: it is not running for ever');
    my $two = over($safe);
    is($two->{state}, 'DONE', 'a step that is retry_safe is made again');
    is_deeply([ map { $_->{state} } @{ $two->{steps} } ], [qw(UNKNOWN OK)], 'as another attempt');
    is($pg->one(q{SELECT count(*) FROM aegis.exec_run WHERE exec_id IN (?, ?) AND epoch > 1}, $once, $safe), 2, 'under another epoch');
    $undo->();
};

subtest 'the limit of an executor' => sub {
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { $y =~ s/^(exec:\n)/$1  concurrency: 2\n/mr }, 'exec');
    wait_for('the reload', 10, sub { slurp($stack->run_dir . '/log/exec.log') =~ /reload/ });
    my @runs = map { [begin({ steps => [script('t-hold.sh', "c$_", '1')] }, no_wait => 1)] } 1 .. 5;
    my $most = 0;
    ok(wait_for('all of them to end', 60, sub {
        my $n = $pg->one(q{SELECT count(*) FROM aegis.exec_step WHERE state = 'RUNNING'});
        $most = $n if $n > $most;
        return !grep { !get($_->[1])->{finished_at} } @runs;
    }), 'five runs of an executor that takes two at a time');
    cmp_ok($most, '<=', 2, "no more than two at a time ($most)");
    $undo->();
};

$stack->finish;
done_testing;
