# 41workers.t: what the workers promise. The relay keeps the order of a case, a
# message acts once however often it comes, poison lands in dead_letter once
# with its reason and holds up nobody, facts that come too late are noted, dead
# letters can be sent again, a command that the bus has lost is given again,
# SIGHUP and SIGTERM do what they should, and --check says file and line.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $worker = build_dir . '/aegis-worker';
my $ctl = build_dir . '/aegisctl';

sub letters ($msg_id) { return $pg->rows('SELECT * FROM aegis.dead_letter WHERE msg_id = ?', $msg_id) }

subtest 'the relay keeps the order of a case' => sub {
    my @c = map { Aegis::Case->create($http, mode => 'manual') } 1 .. 12;
    for my $n (1 .. 8) { $_->must($n % 2 ? 'force_park' : 'resume') for @c }
    ok($stack->quiet, 'everything is published');
    my %mine = map { $_->id => [] } @c;
    for my $m ($stack->nats->messages('AEGIS_CASE')) {
        my $e = json_decode($m->{body});
        push @{ $mine{ $e->{data}{case_id} } }, $e->{data}{case_version} if $mine{ $e->{data}{case_id} };
    }
    is((grep { "@$_" ne '2 3 4 5 6 7 8 9' } values %mine), 0, 'each case\'s transitions are in the stream in their order, once');
};

subtest 'a message acts once' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
    my $id = new_key('twice');
    # the broker's own deduplication is not what is tested: another Nats-Msg-Id each time
    $stack->publish_fact('evt.analysis.findings.v1', id => $id, nats_id => "$id-$_", case_id => $c->id, version => 2) for 1 .. 5;
    ok($c->wait_state('PLANNING'), 'it moves the case');
    $stack->quiet;
    is($c->version, 3, 'once');
    is(scalar($c->timeline), 3, 'and its repetitions leave nothing on the timeline');
    is($pg->one('SELECT count(*) FROM aegis.inbox WHERE msg_id = ?', $id), 1, 'they are known by the inbox');
    is_deeply(letters($id), [], 'and are no dead letters');
};

subtest 'a fact that comes too late is noted' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
    $c->must('force_park');
    my $id = $stack->publish_fact('evt.analysis.findings.v1', case_id => $c->id, version => 2, data => { reason => 'at last' });
    my $note = wait_for('the note', 20, sub { my ($n) = grep { $_->{kind} eq 'note' } $c->timeline; $n });
    ok($note, 'it is on the timeline as a note') or return;
    is($note->{event}, 'analysis_done', 'with what it would have done');
    like($note->{reason}, qr/moved on.*at last/s, 'and what it said');
    is($note->{version}, 3, 'at the version where the case is');
    is($c->get->json->{status}, 'PARKED', 'the case has not moved');
    is_deeply(letters($id), [], 'it is no dead letter');
};

subtest 'poison' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('PLANNING');
    my $far = Aegis::Case->create($http, mode => 'manual');
    my $big = 'x' x 600_000;
    my @poison = (
        ['no JSON',               { body => 'this is not json' },                                qr/bad-envelope/],
        ['an array',              { body => '[1,2,3]' },                                         qr/bad-envelope/],
        ['nothing',               { body => '' },                                                qr/bad-envelope/],
        ['bytes',                 { body => pack('H*', 'fffe00010203') },                        qr/bad-envelope/],
        ['JSON of great depth',   { body => '{"a":' x 2000 . '1' . '}' x 2000 },                 qr/bad-envelope/],
        ['another envelope version', { envelope => { specversion => '9.9' } },                   qr/bad-envelope/],
        ['no id',                 { envelope => { id => undef } },                               qr/bad-envelope/],
        ['no tenant',             { envelope => { tenant => undef } },                           qr/bad-envelope/],
        ['no data',               { envelope => { data => undef } },                             qr/bad-envelope/],
        ['data that is a list',   { envelope => { data => [] } },                                qr/bad-envelope/],
        ['a case id that is none', { case_id => 'forty-two', version => 1 },                     qr/bad-envelope|not-found/],
        ['an unknown case',       { case_id => uuid, version => 1 },                             qr/not-found/],
        ['another tenant\'s name', { case_id => $c->id, version => 3, tenant => 'nobody' },      qr/not-found/],
        ['a version of the future', { case_id => $c->id, version => 99 },                        qr/illegal-transition/],
        ['an illegal fact',       { case_id => $far->id, version => 1 },                         qr/illegal-transition/],
        ['no case version and illegal', { case_id => $far->id },                                 qr/illegal-transition/],
        ['a great deal of data',  { case_id => uuid, version => 1, data => { x => $big } },      qr/not-found|bad-envelope|too-large/],
        ['an unknown type',       { subject => 'evt.exec.exploded.v1', case_id => $c->id, version => 3 }, qr/unknown-subject/],
        ['a version that nobody knows', { subject => 'evt.exec.done.v2', case_id => $c->id, version => 3 }, qr/unknown-subject/],
        ['a type that is not its subject', { envelope => { type => 'evt.verify.pass.v1' } , case_id => $c->id, version => 3 }, qr/bad-envelope|illegal-transition|unknown-subject/],
    );
    my $before = $pg->fingerprint(case_id => $far->id);
    my $dead = $pg->one('SELECT count(*) FROM aegis.dead_letter');
    my (@ids, $at);
    my $began = time;
    for my $p (@poison) {
        my ($what, $f) = @$p;
        my %f = %$f;
        my $id = new_key('poison');
        $stack->publish_fact(delete $f{subject} // 'evt.exec.done.v1', id => $id, %f);
        push @ids, $id;
    }
    my $good = Aegis::Case->create($http);
    ok($good->wait_state('CLOSED', 40), 'a healthy case walks to CLOSED behind ' . @poison . ' poison messages');
    ok($stack->quiet(60), 'and all of them are settled');
    is($pg->one('SELECT count(*) FROM aegis.dead_letter') - $dead, scalar @poison, 'each is a dead letter, once');
    my @new = @{ $pg->rows('SELECT * FROM aegis.dead_letter ORDER BY id DESC LIMIT ?', scalar @poison) };
    for my $i (0 .. $#poison) {
        my ($what, $f, $code) = @{ $poison[$i] };
        # without an id of its own it is known by the broker's
        my ($l) = grep { $_->{msg_id} eq $ids[$i] || index($_->{payload}, $ids[$i]) >= 0
            || (defined $f->{body} && $_->{payload} eq $f->{body}) } @new;
        ok($l, "$what: it is kept") or next;
        like($l->{code}, $code, "$what: as $l->{code}");
        ok(length $l->{reason}, "$what: because: $l->{reason}");
        is($l->{consumer}, 'aegis-fsm', "$what: by its consumer");
        ok(length $l->{subject}, "$what: with its subject $l->{subject}");
        cmp_ok($l->{deliveries}, '>=', 1, "$what: and how often it was tried");
    }
    is_deeply($pg->fingerprint(case_id => $far->id)->{ops_case}, $before->{ops_case}, 'no case has moved by any of them');
    is($c->get->json->{status}, 'PLANNING', 'nor the other');
    my $bad = $pg->one(q{SELECT count(*) FROM aegis.dead_letter d JOIN aegis.inbox i ON i.msg_id = d.msg_id AND i.consumer = d.consumer});
    is($bad, 0, 'what is dead was not applied');
    my $cmd = $stack->nats->publish('cmd.plan.generate', 'poison for a module', id => new_key());
    ok(wait_for('the planner to bury it', 30, sub { $pg->one(q{SELECT count(*) FROM aegis.dead_letter WHERE consumer = 'aegis-planner'}) }),
        'a module buries what it cannot read too');
};

subtest 'what fails while nothing can be written is not given up' => sub {
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nretry:\n  max_deliveries: 3\n" }, 'fsm');
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
    my $count = sub ($outcome) { $stack->metric('fsm', 'aegis_messages_total', qq{outcome="$outcome"}) // 0 };
    my ($void, $retry) = map { $count->($_) } qw(unavailable retry);
    # as PostgreSQL refuses what has no room, while the connection stays
    $pg->do(q{CREATE FUNCTION public.t_full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$});
    $pg->do('CREATE TRIGGER t_full BEFORE INSERT ON aegis.case_timeline EXECUTE FUNCTION public.t_full()');
    my $id = $stack->publish_fact('evt.analysis.findings.v1', case_id => $c->id, version => 2);
    ok(wait_for('more failures than are allowed', 60, sub { $count->('unavailable') >= $void + 4 }), 'a full disk: each try fails');
    my $held = $pg->connect;
    $held->begin_work;
    $held->do('SELECT FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $c->id);
    $pg->do($_) for 'DROP TRIGGER t_full ON aegis.case_timeline', 'DROP FUNCTION public.t_full()';
    ok(wait_for('a failure of its own', 60, sub { $count->('retry') > $retry || @{ letters($id) } }), 'then its case is held by somebody');
    is_deeply(letters($id), [], 'it is no dead letter');
    $held->rollback;
    ok($c->wait_state('PLANNING', 60), 'and acts when it can');
    $undo->();
};

subtest 'a dead letter can be sent again' => sub {
    my $case_id = uuid;
    my $id = $stack->publish_fact('evt.analysis.failed.v1', case_id => $case_id, version => 2, data => { reason => 'second chance' });
    my $l = wait_for('the dead letter', 20, sub { letters($id)->[0] });
    ok($l, 'a fact of a case that is not there yet is a dead letter') or return;
    # the case appears, as after a restore
    $pg->do(q{INSERT INTO aegis.ops_case (tenant, case_id, title, mode, status, version) VALUES ('default', ?, 'restored', 'manual', 'ANALYZING', 2)}, $case_id);
    $pg->do(q{INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, from_status, to_status, rule, actor, principal) VALUES
        ('default', ?, 1, 'create', 'create', NULL, 'NEW', NULL, 't', 't'), ('default', ?, 2, 'transition', 'start_analysis', 'NEW', 'ANALYZING', 110, 't', 't')},
        $case_id, $case_id);
    $pg->do(q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, published_at) VALUES
        ('default', ?, 1, 0, ?, 'evt.case.created.v1', '{}', now()), ('default', ?, 2, 0, ?, 'evt.case.transition.v1', '{}', now())},
        $case_id, "$case_id:1:created", $case_id, "$case_id:2:transition");
    my $r = run([$ctl, 'dlq', 'retry', $l->{id}, '-d', $stack->e('DATABASE_ADMIN_URL')], env => {san_env});
    is($r->{rc}, 0, 'aegisctl dlq retry sends it') or diag($r->{err});
    ok(wait_for('the case to be parked', 30, sub { $pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $case_id) eq 'PARKED' }),
        'and it moves the case');
    is(letters($id)->[0]{state}, 'RETRIED', 'the letter is kept as RETRIED');
    my $other = $stack->publish_fact('evt.analysis.failed.v1', case_id => uuid, version => 2);
    my $d = wait_for('the dead letter', 20, sub { letters($other)->[0] });
    is(run([$ctl, 'dlq', 'drop', $d->{id}, '-d', $stack->e('DATABASE_ADMIN_URL')], env => {san_env})->{rc}, 0, 'another can be dropped');
    is(letters($other)->[0]{state}, 'DROPPED', 'and is kept as DROPPED');
    # what was put in by hand is taken out again, for the invariants
    $pg->do('SET session_replication_role = replica');      # timelines are append-only else
    $pg->do("DELETE FROM aegis.$_ WHERE case_id = ?", $case_id) for qw(ops_case case_timeline outbox);
};

subtest 'a command that the bus has lost is given again' => sub {
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nreconcile:\n  after_s: 2\n  every_s: 1\n" }, 'relay');
    my $planner = $stack->pid('planner');
    kill 'STOP', $planner;
    my $c = Aegis::Case->create($http);
    ok($c->wait_state('PLANNING'), 'while the planner sleeps the case comes to PLANNING');
    ok(wait_for('its command to be in the stream', 20, sub {
        $pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject = 'cmd.plan.generate' AND published_at IS NOT NULL}, $c->id) }),
        'its command is published');
    $stack->nats->purge('AEGIS_CMD');
    # what the sleeping planner has fetched already is lost with it
    kill 'KILL', $planner;
    $stack->wait_worker('planner', $planner);
    ok($c->wait_state('CLOSED', 60), 'its command is purged from the stream and yet it goes on to CLOSED');
    cmp_ok($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND msg_id LIKE '%:nudge:%'}, $c->id), '>', 0, 'because it was sent again');
    cmp_ok($stack->metric('relay', 'aegis_reconciled_total'), '>', 0, 'which is counted');
    is($pg->one('SELECT count(*) FROM aegis.plan_proposed WHERE case_id = ?', $c->id), 1, 'it has one plan');
    $undo->();
};

subtest 'a relay that is killed between publishing and marking' => sub {
    my @c = map { Aegis::Case->create($http, mode => 'manual') } 1 .. 20;
    for my $n (1 .. 3) {
        $_->must($n % 2 ? 'force_park' : 'resume') for @c;
        my $was = $stack->kill_worker('relay');
        ok($stack->wait_worker('relay', $was), "killed and back ($n)");
    }
    ok($stack->quiet(60), 'everything is published');
    my %order;
    for my $m ($stack->nats->messages('AEGIS_CASE')) {
        my $e = json_decode($m->{body});
        push @{ $order{ $e->{data}{case_id} } }, $e->{data}{case_version} unless grep { $_ == $e->{data}{case_version} } @{ $order{ $e->{data}{case_id} } };
    }
    is((grep { "@{ $order{ $_->id } // [] }" ne '2 3 4' } @c), 0, 'first deliveries are in order, none is lost');
};

subtest 'a broker that is away' => sub {
    my $errors = $stack->metric('relay', 'aegis_relay_errors_total') // 0;
    $stack->kill_nats;
    my @c = map { Aegis::Case->create($http, mode => 'manual') } 1 .. 20;
    is((grep { $_->say('force_park')->status != 200 } @c), 0, 'while it is away the gateway goes on');
    ok(wait_for('the relay to have tried', 30, sub { ($stack->metric('relay', 'aegis_relay_errors_total') // 0) > $errors }), 'the relay tries, and counts its errors');
    cmp_ok($pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL'), '>=', 40, 'what it could not publish stays pending');
    ok($stack->start_nats, 'when the broker is back');
    ok($stack->quiet(60), 'everything is published and consumed, by workers that nobody has restarted');
    my %there = map { $_->{headers} =~ /^Nats-Msg-Id: (\S+?)\r?$/m ? ($1 => 1) : () } map { $stack->nats->messages($_) } qw(AEGIS_FACT AEGIS_CASE);
    is((grep { !$there{"$_:1:created"} || !$there{"$_:2:transition"} } map { $_->id } @c), 0, 'and none is missing in the streams');
    my $auto = Aegis::Case->create($http);
    ok($auto->wait_state('CLOSED', 40), 'the next case walks to CLOSED');
};

subtest 'an executor that is overtaken while it sleeps' => sub {
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { $y =~ s/^(exec:\n)/$1  lease_s: 2\n/mr }, 'exec');
    my $effects = $stack->effect_file;
    $stack->add_script('t-slow.sh', "#!/bin/sh\n# acts at its end\nsleep 4\necho \"\$AEGIS_EXEC_ID \$AEGIS_PHASE \$AEGIS_STEP \$AEGIS_ATTEMPT\" >>$effects\n");
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING',
        plan => { steps => [{ name => 'slow', action => 'script.exec', params => { script => 't-slow.sh' } }] });
    my $exec = $c->post('/adapter/exec')->json->{exec_id};
    ok(wait_for('the step to run', 20, sub { $pg->one(q{SELECT count(*) FROM aegis.exec_step WHERE exec_id = ? AND state = 'RUNNING'}, $exec) }), 'a step runs');
    my $sleeper = $stack->pid('exec');
    kill 'STOP', $sleeper;
    my $second = start_process('second-exec', [$worker, '-c', $stack->run_dir . '/conf/aegis.yaml', 'exec'], env => {san_env});
    my $over = wait_for('the run to be taken over and ended', 40, sub { $pg->row(q{SELECT * FROM aegis.exec_run WHERE exec_id = ? AND state IN ('DONE', 'FAILED')}, $exec) });
    ok($over, 'another takes the run over and ends it') or diag(slurp($second->{log}));
    cmp_ok($over->{epoch}, '>', 1, "under another epoch: $over->{state}, $over->{reason}") if $over;
    my $before = $pg->fingerprint(case_id => $c->id);
    kill 'CONT', $sleeper;
    my $end = $c->wait_state($over && $over->{state} eq 'DONE' ? 'VERIFYING' : 'PARKED', 30);
    ok($end, 'the case goes where the second one says: ' . ($end->{reason} // ''));
    stop_process($second);
    ok($stack->quiet, 'the first one wakes up and comes to rest');
    is_deeply($pg->row('SELECT state, reason, epoch, finished_at FROM aegis.exec_run WHERE exec_id = ?', $exec),
        { map { $_ => $over->{$_} } qw(state reason epoch finished_at) }, 'and has changed nothing of the run');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject IN ('evt.exec.done.v1', 'evt.exec.failed.v1')}, $c->id), 1, 'one fact says how it ended');
    cmp_ok(scalar(grep { /^\Q$exec\E / } split /\n/, slurp($effects)), '<=', 1, 'the script has acted at most once');
    my $r = Aegis::Case->create($http);
    ok($r->wait_state('CLOSED', 40), 'it works on with what comes next');
    $undo->();
};

subtest 'SIGHUP loads the configuration again' => sub {
    my $pid = $stack->pid('relay');
    my $taken = $stack->metric('relay', 'aegis_config_reloads_total', 'outcome="taken"');
    my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nlog:\n  level: debug\n" }, 'relay');
    is($stack->metric('relay', 'aegis_config_last_reload_successful'), 1, 'a good one is taken');
    is($stack->metric('relay', 'aegis_config_reloads_total', 'outcome="taken"'), $taken + 1, 'which is counted when the role works by it');
    like(slurp($stack->run_dir . '/log/relay.log'), qr/"event":"[^"]*reload/, 'and logged');
    my $n = () = slurp($stack->run_dir . '/log/relay.log') =~ /"level":"error"/g;
    my $bad = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nrelay:\n  batch: many\n" }, 'relay');
    is($stack->metric('relay', 'aegis_config_last_reload_successful'), 0, 'a bad one is not, and a metric says so');
    is($stack->pid('relay'), $pid, 'the process goes on');
    my $c = Aegis::Case->create($http);
    ok($c->wait_state('CLOSED', 40), 'with the settings it had');
    $bad->();
    $undo->();
    is($stack->metric('relay', 'aegis_config_last_reload_successful'), 1, 'the next good one is taken');
};

subtest 'SIGTERM stops cleanly' => sub {
    for my $role ($stack->roles) {
        my $p = start_process("one-$role", [as_service($worker, '-c', $stack->run_dir . '/conf/aegis.yaml', $role)],
            env => { AEGIS_METRICS_LISTEN => '127.0.0.1:' . (my $port = free_port()), san_env });
        my $m = Aegis::Http->new(url => "http://127.0.0.1:$port");
        ok(wait_for("$role to answer", 20, sub { $m->get('/healthz')->status == 200 }), "a second $role starts beside the first");
        my $began = time;
        my $status = stop_process($p, 'TERM', 25);
        is($status, 0, "$role ends with 0 after SIGTERM") or diag(slurp($p->{log}));
        cmp_ok(time - $began, '<', 10, "$role does not linger");
        my @lines = grep { length } split /\n/, slurp($p->{log});
        is((grep { my $j = eval { json_decode($_) }; !$j || !$j->{ts} || !$j->{level} || !$j->{event} || $j->{ts} !~ /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ } @lines), 0,
            "$role logs one JSON object a line") or diag(join "\n", @lines);
    }
};

# The service's uid may read its configuration; so may we, as root.
sub as_service (@argv) { return @argv }

subtest 'what the program says of itself' => sub {
    my $help = run([$worker, '--help']);
    is($help->{rc}, 0, '--help');
    like($help->{out}, qr/^\s+$_\s/m, "it lists $_") for $stack->roles;
    like(run([$worker, '--version'])->{out}, qr/\d+\.\d+\.\d+/, '--version');
    is(run([$worker, '-c', $stack->run_dir . '/conf/aegis.yaml', '--check', 'all'], env => {san_env})->{rc}, 0, '--check is content with the quick start\'s file');
    is(run([$worker])->{rc}, 2, 'no role is a wrong usage');
    is(run([$worker, 'gardener'])->{rc}, 2, 'an unknown role too');
    is(run([$worker, '-c', '/nowhere/aegis.yaml', 'relay'])->{rc}, 3, 'a file that is not there');
    my $dir = scratch('check');
    my @bad = (
        ['an unknown key',        "database:\n  url: \"x\"\nbus:\n  fetsch: 3\n",                 qr/:4:\d+:.*fetsch.*fetch/s],
        ['a wrong type',          "database:\n  url: \"x\"\nbus:\n  fetch: lots\n",               qr/:4:\d+:.*fetch/s],
        ['a value out of range',  "database:\n  url: \"x\"\nbus:\n  fetch: 100000\n",             qr/:4:\d+:.*(?:256|fetch)/s],
        ['broken YAML',           "database:\n  url: \"x\n",                                      qr/:\d+:\d+:/],
        ['a tab',                 "database:\n\turl: x\n",                                        qr/:2:\d+:/],
        ['a key twice',           "database:\n  url: \"x\"\n  url: \"y\"\n",                      qr/:3:\d+:/],
        ['an unknown transport',  "database:\n  url: \"x\"\nbus:\n  routes:\n    - match: \">\"\n      transport: pigeon\n", qr/:\d+:\d+:.*pigeon/s],
        ['Kafka without brokers', "database:\n  url: \"x\"\nbus:\n  routes:\n    - match: \"evt.>\"\n      transport: kafka\n", qr/brokers/],
        ['no database',           "source: \"urn:x\"\n",                                          qr/database\.url/],
        ['a list at the top',     "- a\n",                                                        qr/:1:\d+:/],
    );
    for my $b (@bad) {
        my ($what, $yaml, $re) = @$b;
        my $f = spew("$dir/aegis.yaml", $yaml);
        my $r = run([$worker, '-c', $f, '--check', 'relay'], env => {san_env});
        is($r->{rc}, 3, "$what: --check ends with 3");
        like($r->{err}, $re, "$what: and says where") or diag($r->{out});
    }
    my $all = run([$worker, '-c', root . '/conf/aegis.yaml', '--print-effective']);
    cmp_ok(scalar(() = $all->{out} =~ /# file$/mg), '>', 100, 'conf/aegis.yaml has its settings');
    is_deeply([ $all->{out} =~ /^(.*# default)$/mg ], [], 'all that there are');
    my $env = run([$worker, '-c', $stack->run_dir . '/conf/aegis.yaml', '--print-effective', 'relay'], env => { AEGIS_BUS_FETCH => 17, san_env });
    like($env->{out}, qr/fetch: 17/, 'the environment overrides a setting');
    my $pw = slurp($stack->run_dir . '/secrets/worker') =~ s/\s+\z//r;
    ok(index($env->{out} . $env->{err}, $pw) < 0, 'and secrets are not shown');
    my $nats = slurp($stack->run_dir . '/secrets/nats') =~ s/\s+\z//r;
    ok(!(grep { index(slurp($_), $pw) >= 0 || index(slurp($_), $nats) >= 0 || index(slurp($_), $stack->token) >= 0 } glob $stack->run_dir . '/log/*'),
        'no log of the installation holds a secret');
};

$stack->finish;
done_testing;
