# 16statements.t: the set-based statements themselves, without a gateway: what a
# group of items answers when two of them meet (the same case, the same key),
# when a row or a key is held by somebody else, when a message comes twice, when
# an executor has been overtaken, and what the relay and the reconciler take.
use v5.36;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $dbh = $pg->connect(user => 'aegis_worker');
my $gw = $pg->connect(user => 'aegis_gateway');

sub made (%more) {
    my $id = uuid;
    my ($r) = Aegis::Sql::call($gw, 'CASE_CREATE', { case_id => $id, mode => 'manual', %more });
    die $r->{body} unless $r->{status} == 201;
    return $id;
}
sub move ($db, @items) { return Aegis::Sql::call($db, 'CASE_TRANSITION', @items) }
sub codes (@r) { return [ map { $_->{code} } @r ] }
sub version ($id) { return $pg->one('SELECT version FROM aegis.ops_case WHERE case_id = ?', $id) }

subtest 'two items of a group meet' => sub {
    my ($a, $b) = (made(), made());
    my $key = new_key();
    my @r = move($gw, { case_id => $a, event => 'force_park' }, { case_id => $b, event => 'force_park' }, { case_id => $a, event => 'resume' });
    is_deeply(codes(@r), ['ok', 'ok', 'again'], 'the second of a case is to be sent again by itself');
    is_deeply([ map { $_->{ord} } @r ], [1, 2, 3], 'each row answers its item');
    is(version($a), 2, 'and has not happened');
    my ($c, $d) = (made(), made());
    @r = move($gw, { case_id => $c, event => 'force_park', key => $key }, { case_id => $d, event => 'force_park', key => $key });
    is_deeply(codes(@r), ['ok', 'again'], 'the second of a key too');
    is_deeply([version($c), version($d)], [2, 1], 'and has not happened either');
    @r = Aegis::Sql::call($gw, 'CASE_CREATE', map { { case_id => uuid, key => $_ } } 'k1', 'k2', 'k1');
    is_deeply(codes(@r), ['ok', 'ok', 'again'], 'for creations as well');
    @r = move($gw, { case_id => $a, event => 'exec_done' }, { case_id => uuid, event => 'resume' }, { case_id => $b, event => 'resume', if_match => '9' },
        { case_id => $d, event => 'force_park', expected_version => 7 }, { case_id => $c, event => 'resume' });
    is_deeply(codes(@r), [qw(illegal-transition not-found version-mismatch version-conflict ok)], 'bad items do not fail a good one');
};

# Every list but the cases' own (16sql_load.t): seven items in pages of three, there and back.
subtest 'pages, and the pages before them' => sub {
    my $case = made();
    my @other = map { made() } 1 .. 7;
    my %put = (
        CASE_TIMELINE => sub ($n) { move($gw, { case_id => $case, event => $n % 2 ? 'resume' : 'force_park' }) if $n > 1 },
        PLAN_PAGE     => sub ($n) { $pg->do(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash, complete, plan, created_by)
            VALUES ('acme', $1, $2, gen_random_uuid(), 1, 'h', true, '{}', 't')}, $case, $n) },
        VERIFY_PAGE   => sub ($n) { $pg->do(q{INSERT INTO aegis.verify_checkpoint (tenant, case_id, checkpoint_id, plan_id, for_version, passed, checks, reason, created_by)
            VALUES ('acme', $1, md5($2::text)::uuid, gen_random_uuid(), 1, true, '[]', 'r', 't')}, $case, $n) },
        GATE_WAITING  => sub ($n) { $pg->do(q{WITH p AS (INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash, complete, plan, created_by)
                VALUES ('acme', $1, 100, gen_random_uuid(), 1, 'h', true, '{}', 't') RETURNING plan_id)
            INSERT INTO aegis.gate_request (tenant, case_id, request_id, plan_id, plan_hash, for_version, rule, needs, proposers, expires_at, created_at)
            SELECT 'acme', $1, gen_random_uuid(), plan_id, 'h', $2, 'r', '{}', '[]', now() + interval '1 hour', now() - $3 * interval '1 s' FROM p},
            $other[$n - 1], 1, $n) },
        FINDING_LIST  => sub ($n) { $pg->do(q{INSERT INTO aegis.finding (tenant, finding_id, fingerprint, source, kind, severity, title, at, decision, rule, reason)
            VALUES ('acme', md5($1::text)::uuid, 'f', 'metric', 'k', 'info', 't', now(), 'held', 'r', 'r')}, $n) },
        KB_LIST       => sub ($n) { $pg->do(q{INSERT INTO aegis.kb_doc (tenant, doc_id, source, format, created_by, created_at)
            VALUES ('acme', gen_random_uuid(), $1::text, 'text', 't', now() - ($1::text::int / 2) * interval '1 s')}, $n) },
    );
    for my $list (sort keys %put) {
        $put{$list}->($_) for 1 .. 7;
        my (@there, @back, $r);
        my $page = sub ($after = undef) {
            ($r) = Aegis::Sql::call($gw, $list, { case_id => $case, limit => 3, after => $after });
            die $r->{body} if $r->{status} != 200;
            return json_decode($r->{body});
        };
        push @there, $page->();
        push @there, $page->($r->{extra} =~ s/ .*//r) while @there < 9 && $r->{extra} !~ / end$/;
        is_deeply([ map { scalar @$_ } @there ], [3, 3, 1], "$list: three pages");
        @back = $there[-1];
        while (@back < 9 && ($r->{extra} // '') =~ / (<\S+)/) { unshift @back, $page->($1) }
        is_deeply(\@back, \@there, '  and back over the same ones');
        $page->();
        my @whole = map { $page->($r->{extra}) } 1 .. 3;
        is_deeply(\@whole, [@there[1, 2], []], '  a gateway of the version before, which sends all of it, sees them, too, and one that is empty');
        is($r->{extra}, undef, '  which is its last');
    }
};

subtest 'somebody else holds the row' => sub {
    my ($held, @free) = map { made() } 0 .. 3;
    my $lock = $pg->connect;
    $lock->begin_work;
    $lock->do('SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $held);
    my $began = time;
    my @r = move($gw, map { { case_id => $_, event => 'force_park' } } $free[0], $held, @free[1, 2]);
    is_deeply(codes(@r), ['ok', 'busy', 'ok', 'ok'], 'in a group it is left out, and its neighbours are carried out');
    cmp_ok(time - $began, '<', 1, 'without a wait');
    my @m = Aegis::Sql::call($gw, 'MODULE_COMMIT', map { { case_id => $_, for_version => $_ eq $held ? 1 : 2, states => 'PARKED', doc => '{"table":"","body":{}}' } } $held, $free[0]);
    is_deeply(codes(@m), ['busy', 'ok'], 'for what a module commits as well');
    $began = time;
    ok(!eval { move($gw, { case_id => $held, event => 'force_park' }); 1 }, 'alone it waits');
    is($gw->state, '55P03', 'as long as lock_timeout says');
    cmp_ok(time - $began, '<', 4, 'and no longer');
    $lock->rollback;
    is_deeply(codes(move($gw, { case_id => $held, event => 'force_park' })), ['ok'], 'then it is carried out');
};

subtest 'somebody else holds the key' => sub {
    my $key = new_key();
    my ($a, $b) = (made(), made());
    $gw->begin_work;
    is_deeply(codes(move($gw, { case_id => $a, event => 'force_park', key => $key })), ['ok'], 'a request runs');
    my $other = $pg->connect(user => 'aegis_gateway');
    my $began = time;
    my @r = move($other, { case_id => $b, event => 'force_park', key => $key }, { case_id => $b, event => 'force_park' });
    is_deeply(codes(@r), ['idempotency-key-in-flight', 'ok'], 'another with its key is told so at once, its neighbour is carried out');
    is($r[0]{status}, 409, 'with 409');
    cmp_ok(time - $began, '<', 1, 'without a wait');
    $gw->commit;
    my ($again) = move($other, { case_id => $b, event => 'force_park', key => $key });
    is($again->{code}, 'idempotency-key-reused', 'when it is done the key is known');
    my ($far) = move($other, { case_id => $b, event => 'resume', key => $key, principal => 'another' });
    is($far->{code}, 'ok', 'another principal\'s key is another key');
};

subtest 'a message comes twice' => sub {
    my $id = made();
    my %fact = (case_id => $id, consumer => 'aegis-fsm', principal => 'aegis:fsm', hash => undef, key => 'm1', event => 'start_analysis', fact_version => 1);
    is_deeply(codes(move($dbh, \%fact)), ['ok'], 'first it acts');
    is_deeply(codes(move($dbh, \%fact)), ['replay'], 'then it is known');
    is_deeply(codes(move($dbh, { %fact, consumer => 'another' })), ['stale-fact'], 'to another consumer it is a new one, and late');
    is_deeply(codes(move($dbh, { %fact, consumer => 'another' })), ['replay'], 'once');
    is(version($id), 2, 'the case moved once');
    is($pg->one(q{SELECT count(*) FROM aegis.case_timeline WHERE case_id = ? AND kind = 'note'}, $id), 1, 'the late one is noted once');
    is_deeply(codes(move($dbh, { %fact, key => 'm2', event => 'analysis_done', fact_version => 9 })), ['illegal-transition'], 'a fact of a version that is not yet is illegal');
    is($pg->one(q{SELECT count(*) FROM aegis.inbox WHERE msg_id = 'm2'}), 0, 'and not remembered: it goes to the dead letters');
    my $auto = made(mode => 'manual');
    is_deeply(codes(move($dbh, { %fact, case_id => $auto, key => 'm3', event => 'plan_ready', fact_version => 1 })), ['stale-fact'],
        'in mode manual plan_ready is not the bus\'s to give');
};

subtest 'the case moves between load and commit' => sub {
    my $id = made();
    move($gw, { case_id => $id, event => 'start_analysis' });
    my %doc = (states => 'NEW ANALYZING PLANNING PARKED', case_id => $id);
    my $plan = sub () {
        my $p = uuid;
        return json_encode({ table => 'plan_proposed', id => $p, msg_id => "$p:plan", subject => 'evt.plan.proposed.v1', data => { case_id => $id },
            status => 201, body => { plan_id => $p }, artefact => { revision => 1, plan_id => $p, template => '', hash => 'h', complete => JSON::PP::true(),
            missing => [], risk_score => 0, plan => {} } });
    };
    my ($r) = Aegis::Sql::call($gw, 'MODULE_COMMIT', { %doc, for_version => 1, doc => $plan->() });
    is($r->{code}, 'again', 'a request decides again');
    ($r) = Aegis::Sql::call($dbh, 'MODULE_COMMIT', { %doc, for_version => 1, doc => $plan->(), consumer => 'aegis-planner', key => 'c1', hash => undef });
    is($r->{code}, 'stale-fact', 'a command is answered no more');
    is($pg->one('SELECT count(*) FROM aegis.plan_proposed WHERE case_id = ?', $id), 0, 'no plan was stored');
    ($r) = Aegis::Sql::call($gw, 'MODULE_COMMIT', { %doc, for_version => 2, doc => $plan->() });
    is($r->{code}, 'ok', 'at the right version it is stored');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject = 'evt.plan.proposed.v1'}, $id), 1, 'with its fact');
    ($r) = Aegis::Sql::call($gw, 'MODULE_COMMIT', { %doc, for_version => 2, doc => $plan->() });
    is($r->{code}, 'again', 'who decided on the same facts meanwhile decides again: there is a plan now');
    my $look = json_encode({ table => '', body => {}, verify_run => { verify_id => uuid, plan_id => uuid, state => 'RUNNING',
        outcome => '', reason => '', evaluations => 0, progress => [], deadline_s => 60 } });
    my @look = map { Aegis::Sql::call($gw, 'MODULE_COMMIT', { %doc, states => 'ANALYZING', for_version => 2, doc => $look }) } 1, 2;
    is_deeply(codes(@look), ['ok', 'again'], 'the same when a verification began');
    ($r) = Aegis::Sql::call($gw, 'MODULE_COMMIT', { %doc, states => 'WAIT_GATE', for_version => 2, doc => $plan->() });
    is($r->{code}, 'wrong-state', 'in a state where it may not it is refused');
};

# A run in EXECUTING, claimed by one and taken over by another.
subtest 'an executor that was overtaken changes nothing' => sub {
    my $id = made();
    my $plan = uuid;
    $pg->do(q{UPDATE aegis.ops_case SET status = 'EXECUTING', version = 5, plan_id = ? WHERE case_id = ?}, $plan, $id);
    $pg->do(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash, complete, plan, created_by)
        VALUES ('acme', ?, 1, ?, 3, 'h', true, '{"steps":[{}]}', 't')}, $id, $plan);
    my $exec = uuid;
    my ($r) = Aegis::Sql::call($gw, 'EXEC_ACCEPT', { case_id => $id, exec_id => $exec });
    is($r->{status}, 202, 'a run is accepted');
    ($r) = Aegis::Sql::call($gw, 'EXEC_ACCEPT', { case_id => $id, exec_id => uuid });
    is($r->{code}, 'already-exists', 'once');
    is($r->{extra}, $exec, 'the second is told which');
    my $claim = sub ($who) { return $dbh->selectrow_hashref('SELECT * FROM aegis.exec_claim(?, 10, 60)', undef, $who) };
    my $one = $claim->('one');
    is($one->{exec_id}, $exec, 'one takes it');
    is($claim->('two'), undef, 'while his lease holds another gets nothing');
    my %step = (case_id => $id, exec_id => $exec, phase => 'step', step_no => 1, attempt => 1);
    my %first = (%step, epoch => $one->{epoch});
    is_deeply(codes(Aegis::Sql::call($dbh, 'EXEC_STEP_BEGIN', { %first, action => 'echo', retry_safe => 'f', token => 'a', target => '', target_limit => 1 })), ['ok'], 'he begins a step');
    is_deeply(codes(Aegis::Sql::call($dbh, 'EXEC_STEP_BEGIN', { %first, action => 'echo', retry_safe => 'f', token => 'a', target => '', target_limit => 1 })), ['ok'], 'telling it twice is harmless');
    $pg->do(q{UPDATE aegis.exec_run SET lease_until = now() - interval '1 s' WHERE exec_id = ?}, $exec);
    my $two = $claim->('two');
    is($two->{epoch}, $one->{epoch} + 1, 'when his lease is over another takes it, under a new epoch');
    is(json_decode($two->{body})->{steps}[0]{state}, 'RUNNING', 'and sees what was begun');
    my $before = $pg->fingerprint(case_id => $id);
    my @late = (
        ['EXEC_STEP_BEGIN', { %first, step_no => 2, action => 'echo', retry_safe => 'f', token => 'b', target => '', target_limit => 1 }],
        ['EXEC_STEP_END',   { %first, state => 'OK', exit_code => 0, error => '', final => 'f' }],
        ['EXEC_FINISH',     { %first, state => 'DONE', reason => '' }],
    );
    for my $l (@late) {
        my ($x) = Aegis::Sql::call($dbh, $l->[0], $l->[1]);
        isnt($x->{code}, 'ok', "$l->[0] of the first is not taken: $x->{code}");
    }
    my $beat = $dbh->selectrow_hashref('SELECT * FROM aegis.exec_heartbeat(ARRAY[?], ARRAY[?::uuid], ARRAY[?::uuid], ARRAY[?::int], 60)', undef,
        'acme', $id, $exec, $one->{epoch});
    is($beat->{code}, 'fenced', 'his heartbeat tells him so');
    is_deeply($pg->fingerprint(case_id => $id), $before, 'and nothing has changed');
    my %second = (%step, epoch => $two->{epoch});
    is_deeply(codes(Aegis::Sql::call($dbh, 'EXEC_STEP_END', { %second, state => 'UNKNOWN', exit_code => undef, error => 'lost', final => 'f' })), ['ok'],
        'the second ends the step');
    is_deeply(codes(Aegis::Sql::call($dbh, 'EXEC_FINISH', { %second, state => 'FAILED', reason => 'outcome unknown' })), ['ok'], 'and the run');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND subject LIKE 'evt.exec.%' AND subject <> 'evt.exec.step_result.v1'}, $id), 1, 'one fact says how it ended');
    is_deeply(codes(Aegis::Sql::call($dbh, 'EXEC_FINISH', { %second, state => 'DONE', reason => '' })), ['fenced'], 'a finished run is finished');
    is($pg->one('SELECT state FROM aegis.exec_run WHERE exec_id = ?', $exec), 'FAILED', 'as it was said first');
};

subtest 'the relay takes what is pending, in order' => sub {
    $pg->do('UPDATE aegis.outbox SET published_at = now()');
    my @id = map { made() } 1 .. 12;
    move($gw, map { { case_id => $_, event => 'force_park' } } @id);
    my $fetch = sub (@parts) { return $dbh->selectall_arrayref('SELECT * FROM aegis.outbox_fetch(?::smallint[], 100)', { Slice => {} }, \@parts) };
    my @all = @{ $fetch->(0 .. 15) };
    is(scalar @all, 24, 'all that is pending');
    is_deeply([ map { $_->{id} } @all ], [ sort { $a <=> $b } map { $_->{id} } @all ], 'oldest first');
    is(scalar(map { @{ $fetch->($_) } } 0 .. 15), 24, 'a partition has its part of it');
    my %part;
    $part{ $_->{case_id} }{ $_->{part} } = 1 for @all;
    is((grep { keys %$_ != 1 } values %part), 0, 'a case is in one partition');
    my ($p) = map { $_->{part} } @all;
    my @ids = map { $_->{id} } @all;
    my $mine = grep { $_->{part} == $p } @all;
    is($dbh->selectrow_array('SELECT aegis.outbox_mark(ARRAY[?]::smallint[], ?::bigint[])', undef, $p, \@ids), $mine, 'who owns a partition marks no other\'s rows');
    is(scalar @{ $fetch->(0 .. 15) }, 24 - $mine, 'what is marked is gone');
    is($dbh->selectrow_array('SELECT aegis.outbox_mark(ARRAY[?]::smallint[], ?::bigint[])', undef, $p, \@ids), 0, 'marking twice marks nothing');
};

subtest 'the relay marks what it has published and takes what came since' => sub {
    $pg->do('UPDATE aegis.outbox SET published_at = now()');
    my $next = sub ($parts, $limit, $done = undef) {
        my @at = sort map { $_->{created_at} } @{ $done // [] };
        return $dbh->selectall_arrayref('SELECT * FROM aegis.outbox_next(?::smallint[], ?, ?::bigint[], ?, ?)', { Slice => {} }, $parts, $limit,
            $done ? ([ map { $_->{id} } @$done ], @at[0, -1]) : (undef) x 3);
    };
    my $left = sub { $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL') };
    made() for 1 .. 5;
    my $first = $next->([0 .. 15], 100);
    is(scalar @$first, 5, 'all that is pending');
    is($left->(), 5, 'to read marks nothing');
    my $late = $pg->connect;
    $late->begin_work;
    $late->do(q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data)
        OVERRIDING SYSTEM VALUE SELECT 'acme', id, 1, aegis.outbox_part(id), 'between', 'evt.case.transition.v1', '{}' FROM gen_random_uuid() id});
    made() for 1 .. 3;
    $late->commit;
    my $second = $next->([0 .. 15], 100, $first);
    is(scalar @$second, 4, 'what came since, and what was written before and committed behind it');
    is_deeply([ map { $_->{id} } @$second ], [ sort { $a <=> $b } map { $_->{id} } @$second ], 'oldest first');
    is($left->(), 4, 'the first are marked, and they alone');
    is($pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NOT NULL AND id = ANY (?::bigint[])', [ map { $_->{id} } @$second ]), 0, 'none that is not published');
    my $gap = [ @$second[0, 3] ];
    is_deeply([ map { $_->{id} } @{ $next->([0 .. 15], 100, $gap) } ], [ map { $_->{id} } @$second[1, 2] ], 'what stands between two that are marked is not');
    is(scalar @{ $next->([0 .. 15], 1) }, 2, 'one more than the limit says that there are more');
    is(scalar @{ $next->([0 .. 15], 0, [ @$second[1, 2] ]) }, 0, 'limit 0 reads none');
    is($left->(), 0, 'and marks');
    my ($p) = grep { my $p = $_; !grep { $_->{part} == $p } @$first } 0 .. 15;
    $pg->do('UPDATE aegis.outbox SET published_at = NULL WHERE id = ANY (?::bigint[])', [ map { $_->{id} } @$first ]);
    is(scalar @{ $next->([$p], 100, $first) }, 0, 'of a partition that is not the caller\'s nothing is read');
    is($left->(), 5, 'or marked');
    $pg->do('UPDATE aegis.outbox SET published_at = now()');
    ok(!eval { $gw->selectall_arrayref(q{SELECT * FROM aegis.outbox_next('{0}', 1, NULL, NULL, NULL)}); 1 }, 'it is not for the gateway');
};

subtest 'the reconciler looks after what stands still' => sub {
    $pg->do(q{UPDATE aegis.outbox SET published_at = now()});
    my %stuck = (new => made(mode => 'auto'), analyzing => made(mode => 'auto'));
    my %fine = (manual => made(mode => 'manual'), fresh => made(mode => 'auto'), parked => made(mode => 'auto'), runs => made(mode => 'auto'));
    move($gw, map { { case_id => $_, event => 'start_analysis' } } $stuck{analyzing}, @fine{qw(manual runs)});
    move($gw, { case_id => $fine{parked}, event => 'force_park' });
    $pg->do(q{UPDATE aegis.outbox SET published_at = now()});
    $pg->do(q{UPDATE aegis.ops_case SET updated_at = now() - interval '10 min' WHERE case_id = ANY (?::uuid[])}, [ values %stuck, @fine{qw(manual parked runs)} ]);
    $pg->do(q{INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, state, created_by) VALUES ('acme', ?, gen_random_uuid(), gen_random_uuid(), 2, 'RUNNING', 't')}, $fine{runs});
    my $go = sub { $dbh->selectrow_array(q{SELECT aegis.reconcile(interval '60 s', 100)}) };
    is($go->(), 2, 'two cases stand still without a reason');
    my %sent = map { $_->{case_id} => $_->{subject} } @{ $pg->rows('SELECT case_id, subject FROM aegis.outbox WHERE published_at IS NULL') };
    is_deeply(\%sent, { $stuck{new} => 'evt.case.created.v1', $stuck{analyzing} => 'cmd.analyze.run' }, 'each is given what its state asks for, again');
    is($go->(), 0, 'not at once again');
    my $id1 = $pg->one('SELECT msg_id FROM aegis.outbox WHERE case_id = ? AND published_at IS NULL', $stuck{new});
    $pg->do(q{UPDATE aegis.ops_case SET nudged_at = now() - interval '3 min' WHERE case_id = ?}, $stuck{new});
    is($go->(), 0, 'nor while what was sent still waits for the relay: that is late, not lost');
    $pg->do('UPDATE aegis.outbox SET published_at = now()');
    is($go->(), 1, 'but later, and later');
    is($pg->one(q{SELECT count(DISTINCT msg_id) FROM aegis.outbox WHERE case_id = ? AND msg_id LIKE '%:nudge:%'}, $stuck{new}), 2, 'under a new message id each time, so that no deduplication drops it');
    like($id1, qr/:nudge:1$/, 'which says what it is');
    $pg->do('UPDATE aegis.outbox SET published_at = now()');
    my $other = $pg->connect(user => 'aegis_worker');
    $other->begin_work;
    $other->selectrow_array(q{SELECT aegis.reconcile(interval '60 s', 100)});
    $pg->do(q{UPDATE aegis.ops_case SET nudged_at = NULL, updated_at = now() - interval '1 h', nudges = 0 WHERE case_id = ?}, $stuck{analyzing});
    is($go->(), 0, 'one at a time does it');
    $other->rollback;
    is($go->(), 1, 'then the next');
};

subtest 'a commit wakes who is to act' => sub {
    my $ear = $pg->connect;
    $ear->do('LISTEN aegis_outbox');
    my $heard = sub { $ear->do('SELECT 1'); my $n = 0; $n++ while $ear->pg_notifies; return $n };
    my $id = made();
    is($heard->(), 0, 'a statement that is told not to, does not');
    local $Aegis::Sql::notify = 'true';
    made();
    is($heard->(), 1, 'a creation wakes the relay');
    move($gw, { case_id => $id, event => 'start_analysis' });
    is($heard->(), 1, 'a transition too');
    Aegis::Sql::call($gw, 'MODULE_COMMIT', { case_id => $id, for_version => 2, states => 'ANALYZING', doc => '{"table":"","body":{}}' });
    is($heard->(), 1, 'what a module commits too');
    move($gw, { case_id => $id, event => 'exec_done', key => 'refused' });
    move($gw, { case_id => $id, event => 'exec_done', key => 'refused' });
    cmp_ok($heard->(), '<=', 1, 'a replay wakes nobody');
};

subtest 'a dead letter is kept once' => sub {
    my $put = sub ($reason) { $dbh->do('SELECT aegis.dead_letter_put(?, ?, ?, ?, NULL, ?, ?, ?, 1)', undef, 'acme', 'c', 's', 'm', 'bad-envelope', $reason, 'x') };
    $put->('first');
    $put->('second');
    is_deeply($pg->dbh->selectcol_arrayref('SELECT reason FROM aegis.dead_letter'), ['first'], 'with its first reason');
};

done_testing;
