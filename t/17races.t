# 17races.t: what two sessions do to each other inside one statement. A session is
# held between its statement's snapshot and its row locks, the other one changes the
# row and commits, and then the first goes on: by what it sees now, or not at all.
use v5.36;
use lib 't/lib';
use DBD::Pg ':async';
use Test::More;
use Aegis::Def;
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $dbh = $pg->connect(user => 'aegis_worker');
my $gw = $pg->connect(user => 'aegis_gateway');
my $gate = $pg->connect;

# A policy that lets pass, but for one case as long as $gate has the lock.
$pg->do($_) for
    q{CREATE FUNCTION public.held(c uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('test.held', true) = c::text THEN PERFORM pg_advisory_xact_lock_shared(17); END IF;
        RETURN true; END $$},
    q{CREATE POLICY held ON aegis.ops_case AS RESTRICTIVE TO aegis_worker USING (public.held(case_id))};

sub made (%more) {
    my $id = uuid;
    my ($r) = Aegis::Sql::call($gw, 'CASE_CREATE', { case_id => $id, %more });
    die $r->{body} unless $r->{status} == 201;
    return $id;
}

# Begin a statement on a connection; an answer is fetched by done().
sub begin ($db, $sql, @bind) {
    my $sth = $db->prepare($sql, { pg_async => PG_ASYNC, pg_server_prepare => 0 });
    $sth->execute(@bind);
    return $sth;
}
sub waiting ($what, $n = 1) {
    return wait_for("$what to wait", 30, sub {
        $n == $pg->one(q{SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted})
    });
}

# Statement $id over @items, while $change happens to the case behind its snapshot.
sub across ($case, $change, $id, @items) {
    $dbh->do("SET test.held = '$case'");
    $gate->do('SELECT pg_advisory_lock(17)');
    my $sth = begin($dbh, ref $id ? @$id : Aegis::Sql::text($id, @items));
    $change->() if waiting(ref $id ? 'it' : $id);
    $gate->do('SELECT pg_advisory_unlock(17)');
    $dbh->pg_result;
    my @rows = @{ $sth->fetchall_arrayref({}) };
    $dbh->do('SET test.held = DEFAULT');
    return @rows;
}
sub count ($table, $case) { return $pg->one("SELECT count(*) FROM aegis.$table WHERE case_id = ?", $case) }

# The commit of ways, as the fsm role sends it: an array a column. What is not said of a
# case is NULL; of moves, facts and steps there are none.
my ($commit) = map { $_->[2] } grep { $_->[0] eq 'WAY_COMMIT' } def_rows('statements', 'AEGIS_SQL');
my @columns = grep { $_ ne 'name' } slurp(root . '/workers/roles/fsm/aegis_way_rows.h') =~ /AEGIS_W\((\w+), \w+\)/g;
my %many = map { $_ => 1 } qw(of event was actor reason correlation key meta move msg_id subject data step_of phase step_no attempt action
    state retry_safe token exit_code error final output result);
sub ways (%of) {
    my $n = @{ $of{case_id} };
    my %full = (tenant => [ ('acme') x $n ], for_version => [ (1) x $n ], traceparent => [ ('') x $n ], go_on => [ ('ask') x $n ],
        (map { $_ => [ ('') x @{ $of{of} // [] } ] } qw(actor reason correlation)), meta => [ (undef) x @{ $of{of} // [] } ], %of);
    return ($commit, (map { $full{$_} // [ $many{$_} ? () : (undef) x $n ] } @columns), 'f');
}
sub commit (%of) {
    my ($sql, @bind) = ways(%of);
    my $sth = $dbh->prepare($sql, { pg_server_prepare => 0 });
    $sth->execute(@bind);
    return sort { $a->{ord} <=> $b->{ord} } @{ $sth->fetchall_arrayref({}) };
}
# The first two moves of each case.
sub begun (@id) {
    return (case_id => \@id, of => [ map { ($_, $_) } 1 .. @id ], event => [ ('start_analysis', 'analysis_done') x @id ],
        was => [ ('NEW', 'ANALYZING') x @id ], key => [ map { ("$_:a", "$_:b") } @id ],
        event_id => [ map { uuid } @id ], event_version => [ (2) x @id ], severity => [ ('info') x @id ], kind => [ ('analysis') x @id ],
        title => [ ('t') x @id ], summary => [ ('s') x @id ], labels => [ ('{}') x @id ]);
}

subtest 'a whole way, and a case that is touched under it' => sub {
    my $move = sub ($event, $from, $key) {
        return { event => $event, from => $from, actor => 'aegis:fsm', reason => '', correlation => '',
                 meta => {}, key => $key, subject => undef, data => undef, said => undef };
    };
    for my $form ('arrays', 'a document, from a worker of before') {
        for my $t (['comes to rest', q{SELECT aegis.settle(interval '0', 10)}],
                   ['is asked for again', q{UPDATE aegis.ops_case SET nudges = nudges + 1}],
                   ['has moved', q{UPDATE aegis.ops_case SET status = 'PARKED', version = 2}]) {
            my $id = made();
            my $doc = json_encode({ reason => '', then => 'ask', envelope => { event_id => uuid, for_version => 2,
                severity => 'info', kind => 'analysis', title => 't', summary => 's', labels => {} },
                moves => [ $move->('start_analysis', 'NEW', "$id:a"), $move->('analysis_done', 'ANALYZING', "$id:b") ] });
            my @sql = $form eq 'arrays' ? ways(begun($id))
                : (q{SELECT * FROM aegis.way_commit('{acme}', ARRAY[?::uuid], '{1}', ARRAY[?], '{""}', false)}, $id, $doc);
            my ($r) = across($id, sub { $pg->do($t->[1]) }, \@sql);
            is($r->{code}, 'again', "$form: a case $t->[0]: it is to be decided again");
            is(count('case_timeline', $id), 1, 'and nothing was written of it');
            is(count('outbox', $id), 1, 'nor published');
            next if $t->[0] eq 'has moved';
            $r = $dbh->selectrow_hashref($sql[0], undef, @sql[1 .. $#sql]);
            is($r->{code}, 'ok', 'then it goes its way');
            is(count('case_timeline', $id), 3, 'once');
            is(count('event_envelope', $id), 1, 'with what was found');
        }
    }
};

subtest 'whole ways, of which some are none' => sub {
    my ($good, $twice, $late, $wrong, $unlike, $held, $last) = map { made() } 1 .. 7;
    $pg->do(q{UPDATE aegis.ops_case SET version = 4 WHERE case_id = ?}, $late);
    my %w = begun($good, $twice, $twice, $late, $wrong, $unlike, $held, $last);
    $w{event}[9] = 'plan_ready';            # of wrong: no such move from there
    $w{was}[11] = 'PLANNING';               # of unlike: not where the move before has brought it
    $w{move} = [ 1, 2, 2, 16, 10 ];         # facts that are told before the transition of their move
    $w{msg_id} = [ map { "$good:f$_" } 1 .. 5 ];
    $w{subject} = [ ('evt.analysis.findings.v1') x 5 ];
    $w{data} = [ map { qq({"n":$_}) } 1 .. 5 ];
    my $lock = $pg->connect;
    $lock->begin_work;
    $lock->do('SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $held);
    my @r = commit(%w);
    $lock->rollback;
    is_deeply([ map { $_->{code} } @r ], [qw(ok ok again again again again again ok)],
        'twice in a group, of another version, not legal, not one chain, held by somebody else: each by itself');
    is_deeply([ map { count('case_timeline', $_) } $good, $twice, $late, $wrong, $unlike, $held, $last ], [3, 3, 1, 1, 1, 1, 3], 'and those leave nothing');
    is_deeply([ map { count('event_envelope', $_) } $good, $late, $wrong, $unlike, $held, $last ], [1, 0, 0, 0, 0, 1], 'of what they found neither');
    my $told = $pg->rows(q{SELECT subject, version, data ->> 'n' AS n FROM aegis.outbox WHERE case_id = ? ORDER BY id}, $good);
    is_deeply([ map { join ' ', grep { defined } @$_{qw(version subject n)} } @$told ], ['1 evt.case.created.v1',
        '1 evt.analysis.findings.v1 1', '2 evt.case.transition.v1', '2 evt.analysis.findings.v1 2', '2 evt.analysis.findings.v1 3',
        '3 evt.case.transition.v1', '3 cmd.plan.generate'], 'facts are told before the transition that they make, in their order');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE case_id = ? AND data ->> 'n' = '4'}, $last), 1, 'each of its own case');
    is($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE data ->> 'n' = '5'}), 0, 'none of a case that did not move');
    is_deeply([ map { $_->{version} } @r[0, 7] ], [3, 3], 'where they are is said');
};

subtest 'a transition, and a case that is touched under it' => sub {
    my ($id, $beside) = (made(), made());
    my $touch = sub { $pg->do('UPDATE aegis.ops_case SET nudges = nudges + 1 WHERE case_id = ?', $id) };
    my @r = across($id, $touch, 'CASE_TRANSITION', map { { case_id => $_, event => 'force_park' } } $id, $beside);
    is_deeply([ map { $_->{code} } @r ], ['busy', 'ok'], 'in a group it is sent again by itself');
    is(count('case_timeline', $id), 1, 'and nothing was written of it');
    my ($r) = across($id, $touch, 'CASE_TRANSITION', { case_id => $id, event => 'force_park' });
    is($r->{code}, 'ok', 'alone it is carried out');
    is(count('case_timeline', $id), 2, 'once');
    ($r) = across($id, sub { $pg->do(q{UPDATE aegis.ops_case SET status = 'CLOSED', version = 3 WHERE case_id = ?}, $id) },
        'CASE_TRANSITION', { case_id => $id, event => 'resume' });
    is($r->{code}, 'illegal-transition', 'or judged by what it has become');
    is($r->{version}, 3, 'at that version');
};

# ALTER DATABASE … SET aegis.idempotency_ttl (docs/operations.md) is made longer: a key
# that was used on two days is known twice.
subtest 'a key that is known twice' => sub {
    my ($key, $id) = (uuid, made());
    $pg->do(q{INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code, version, body, created_at)
        SELECT 'acme', 'tester', ?, (now() AT TIME ZONE 'UTC')::date - n, '\\x01', 200, 'ok', 1, '{"day":' || n || '}', now() - n * interval '25 h'
          FROM generate_series(0, 1) n}, $key);
    $gw->do(q{SET aegis.idempotency_ttl = '48 hours'});
    my %known = (key => $key, hash => '\\x01', case_id => $id, event => 'force_park');
    for my $stmt (qw(ANALYZE_ASK CASE_TRANSITION CASE_CREATE)) {
        my @r = Aegis::Sql::call($gw, $stmt, { %known, run_id => uuid }, { case_id => $stmt eq 'CASE_CREATE' ? uuid : made(), event => 'force_park', run_id => uuid });
        is_deeply([ map { [ $_->{ord}, $_->{code} ] } @r ], [ [ 1, 'replay' ], [ 2, 'ok' ] ], "$stmt: one answer an item, and no other's");
    }
    $gw->do('RESET aegis.idempotency_ttl');
};

sub document (%more) {
    my %none = map { $_ => undef } qw(source title format url category lang consumer);
    return { %none, doc_id => uuid, content => uuid, %more };
}

subtest 'a document is put in while it is deleted' => sub {
    my $mine = $pg->connect(user => 'aegis_gateway');
    my ($r) = Aegis::Sql::call($gw, 'KB_INGEST', document(source => 'gone'));
    $gw->begin_work;
    Aegis::Sql::call($gw, 'KB_DELETE', { consumer => undef, doc_id => json_decode($r->{body})->{doc_id} });
    my $sth = begin($mine, Aegis::Sql::text('KB_INGEST', document(source => 'gone')));
    waiting('who puts it in');
    $gw->commit;
    ok(eval { $mine->pg_result; 1 }, 'its statement waits for that') or diag $@;
    is($sth->fetchrow_hashref->{status}, 202, 'and it is a new document');
    is($pg->one(q{SELECT version FROM aegis.kb_doc WHERE source = 'gone'}), 1, 'with its first version');
};

# One document a source, and an address is one when nothing else is said.
subtest 'which document is meant' => sub {
    my $url = 'https://example.com/' . ('a' x 190);
    my @id = map { (Aegis::Sql::call($gw, 'KB_INGEST', document(content => undef, url => $_)))[0]{extra} } "$url/1", "$url/2", "$url/1";
    isnt($id[0], $id[1], 'addresses that begin alike are two');
    is($id[0], $id[2], 'the same address is one');
    my %said = (source => 'said', content => 'the same');
    my @v = map { json_decode((Aegis::Sql::call($gw, 'KB_INGEST', document(%said, %$_)))[0]{body}) } { title => 'runbook' }, { category => 'runbook' }, { category => 'runbook' };
    is_deeply([ map { $_->{version} } @v ], [1, 2, 2], 'what is said about it under another name is a new version');
    is($v[2]{category}, 'runbook', 'and is what is said now');
};

subtest 'two documents exchange their words' => sub {
    my ($one, $two) = map { $pg->connect(user => 'aegis_worker') } 1, 2;
    my $doc = sub ($source) { return json_decode((Aegis::Sql::call($gw, 'KB_INGEST', document(source => $source)))[0]{body}) };
    my $store = sub ($d, $word) {
        return ('SELECT aegis.kb_store(?, ?, ?, NULL, ?)', 'acme', $d->{doc_id}, $d->{version}, json_encode({ chunks => [
            { heading => '', text => $word, from => 0, to => 1, heads => '', terms => $word, vectors => [] } ] }));
    };
    for my $t (['x', 'zoo'], ['y', 'ant']) {
        my ($sql, @bind) = $store->($doc->($t->[0]), $t->[1]);
        is($one->selectrow_array($sql, undef, @bind), 'ok', "$t->[0] has a word");
    }
    $pg->do($_) for q{CREATE FUNCTION public.paused() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(18); RETURN NEW; END $$},
        'CREATE TRIGGER paused BEFORE INSERT ON aegis.kb_chunk FOR EACH ROW EXECUTE FUNCTION public.paused()';
    $gate->do('SELECT pg_advisory_lock(18)');
    my @sth = (begin($one, $store->($doc->('x'), 'ant')), begin($two, $store->($doc->('y'), 'zoo')));
    waiting('both', 2);
    $gate->do('SELECT pg_advisory_unlock(18)');
    for my $db ($one, $two) {
        ok(eval { $db->pg_result; 1 }, 'neither is the other\'s deadlock') or diag $@;
    }
    is_deeply([ map { ($_->fetchrow_array)[0] } @sth ], ['ok', 'ok'], 'both are stored');
    is_deeply($pg->rows('SELECT term, n FROM aegis.kb_term ORDER BY term'), [ { term => 'ant', n => 1 }, { term => 'zoo', n => 1 } ], 'and counted');
    $pg->do('DROP TRIGGER paused ON aegis.kb_chunk');
};

subtest 'two sensors fold for one tenant' => sub {
    my ($one, $two) = map { $pg->connect(user => 'aegis_worker') } 1, 2;
    $_->do(q{SET lock_timeout = '300ms'}) for $one, $two;
    my $fold = sub ($db, $metric) {
        return $db->do(q{SELECT aegis.fold_metrics('{acme}', '{urn:k8s:svc:ns/a}', ARRAY[?], '{0}', '{60}', '{1}', '{1}', '{1}', '{1}', '{"{}"}', '{NULL}')}, undef, $metric);
    };
    $fold->($one, 'first');
    $one->begin_work;
    $fold->($one, 'a');
    ok(eval { $fold->($two, 'b'); 1 }, 'who folds other series does not wait for the other\'s commit') or diag $@;
    $one->commit;
    $pg->do(q{UPDATE aegis.dim_resource SET last_seen = now() - interval '2 h'});
    $fold->($two, 'b');
    is($pg->one(q{SELECT count(*) FROM aegis.dim_resource WHERE last_seen > now() - interval '1 h'}), 1, 'and who was last seen long ago is seen again');
};

done_testing;
