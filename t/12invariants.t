# 12invariants.t: the invariants are true of what the statements write, and each
# of them catches the defect that it is there for. An oracle that cannot fail
# would let every crowd suite pass.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Invariants;
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $dbh = $pg->dbh;
my $inv = Aegis::Invariants->new($dbh);

# --- a population: every kind of end, by the product's own statements
my @cases = map { { case_id => uuid, key => new_key(), mode => $_ % 3 ? 'auto' : 'manual' } } 1 .. 24;
Aegis::Sql::call($dbh, 'CASE_CREATE', @cases);
my @sent = map { { %$_, status => 201, route => '/case/create' } } @cases;
my ($shut, $run) = (0, {});
for my $c (@cases) {
    my $n = 0;
    my $step = sub ($event, %more) {
        my %item = (case_id => $c->{case_id}, event => $event, key => new_key(), %more);
        my ($r) = Aegis::Sql::call($dbh, 'CASE_TRANSITION', \%item);
        push @sent, { %item, status => $r->{status}, route => '/case/{id}/transition' }
            unless $item{consumer};
        return $r;
    };
    my $i = $shut++;
    next if $i % 6 == 0;
    $step->('start_analysis');
    $step->('exec_done');                                   # refused
    if ($i % 6 == 1) { $step->('force_park'); next }
    $step->('analysis_done', consumer => 'aegis-fsm', principal => 'aegis:fsm', fact_version => 2);
    $step->('analysis_done', consumer => 'aegis-fsm', principal => 'aegis:fsm', fact_version => 2);
    my $plan = uuid;
    $pg->do(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash,
        complete, plan, created_by) VALUES ('acme', ?, 1, ?, 3, 'h', true, '{"steps":[]}', 't')},
        $c->{case_id}, $plan);
    $step->('plan_ready');
    $pg->do(q{INSERT INTO aegis.plan_approved (tenant, case_id, plan_id, decision_id, plan_hash, not_before,
        not_after) VALUES ('acme', ?, ?, gen_random_uuid(), 'h', now() - interval '1 h',
        now() + interval '1 h')}, $c->{case_id}, $plan);
    next if $i % 6 == 2;
    $step->('gate_approved');
    next if $i % 6 == 3;
    my $exec = uuid;
    Aegis::Sql::call($dbh, 'EXEC_ACCEPT', { case_id => $c->{case_id}, exec_id => $exec });
    my ($claimed) = @{ $pg->rows(q{SELECT * FROM aegis.exec_claim('me', 10, 60)}) };
    my %at = (case_id => $c->{case_id}, exec_id => $exec, epoch => $claimed->{epoch}, phase => 'step',
              step_no => 1, attempt => 1);
    Aegis::Sql::call($dbh, 'EXEC_STEP_BEGIN', { %at, action => 'echo', retry_safe => 'f', token => 'x', target => '', target_limit => 1 });
    Aegis::Sql::call($dbh, 'EXEC_STEP_END', { %at, state => 'OK', exit_code => 0, error => '',
        final => 'f' });
    Aegis::Sql::call($dbh, 'EXEC_FINISH', { %at, state => 'DONE', reason => '' });
    $run = \%at;
    $step->('exec_done', consumer => 'aegis-fsm', principal => 'aegis:fsm', fact_version => 5);
}
$pg->do('UPDATE aegis.outbox SET published_at = now()');
$pg->do(q{INSERT INTO t_bus SELECT CASE WHEN subject LIKE 'cmd.%' THEN 'CMD' ELSE 'FACT' END, id, msg_id, subject,
    tenant, case_id, version FROM aegis.outbox});
$pg->do(q{INSERT INTO t_bus SELECT log, seq + 100000, msg_id, subject, tenant, case_id, version
    FROM t_bus WHERE seq % 3 = 0});                         # redelivered: allowed
$pg->do(q{INSERT INTO t_effect SELECT exec_id, phase, step_no, attempt FROM aegis.exec_step});
for my $s (@sent) {
    my %of = (409 => 'illegal-transition');
    $pg->do(q{INSERT INTO t_client VALUES ('acme', ?, ?, ?, ?, 'sha', '"1"', '')}, $s->{key}, $s->{route},
        $s->{status}, $of{ $s->{status} } // '');
}
$pg->do(q{INSERT INTO t_read SELECT 'acme', case_id, version, now(), now() FROM aegis.ops_case});
my $one = sub ($sql) { $pg->one($sql) };
cmp_ok($one->("SELECT count(*) FROM aegis.case_timeline WHERE kind = 'note'"), '>', 0,
    'the population has facts that came too late');
cmp_ok($one->("SELECT count(*) FROM aegis.case_timeline WHERE to_status = 'VERIFYING'"), '>', 0,
    'the population has cases that were executed');
$inv->check;

$pg->do(q{SET session_replication_role = replica});        # timelines are append-only else
# --- and each defect, caught by the invariant that names it
my $some = q{(SELECT case_id FROM aegis.case_timeline WHERE to_status = 'VERIFYING' ORDER BY case_id LIMIT 1)};
my @defects = (
    [I01 => 'a lost timeline row', "DELETE FROM aegis.case_timeline WHERE version = 3 AND seq = 0 AND case_id = $some"],
    [I01 => 'a version that nobody made', "UPDATE aegis.ops_case SET version = version + 1 WHERE case_id = $some"],
    [I02 => 'a case that stands elsewhere than its timeline ends', "UPDATE aegis.ops_case SET status = 'CLOSED' WHERE case_id = $some"],
    [I02 => 'a row that does not start where the last one ended', "UPDATE aegis.case_timeline SET from_status = 'PARKED' WHERE version = 4 AND seq = 0 AND case_id = $some"],
    [I02 => 'a timeline without a case', "DELETE FROM aegis.ops_case WHERE case_id = $some"],
    [I03 => 'an illegal edge', "UPDATE aegis.case_timeline SET event = 'resume' WHERE version = 4 AND seq = 0 AND case_id = $some"],
    [I03 => 'an edge under another rule', "UPDATE aegis.case_timeline SET rule = 390 WHERE version = 4 AND seq = 0 AND case_id = $some"],
    [I04 => 'a transition without its fact', "DELETE FROM aegis.outbox WHERE subject = 'evt.case.transition.v1' AND version = 4 AND case_id = $some"],
    [I04 => 'a fact twice in the outbox', "INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, published_at)
        SELECT tenant, case_id, version, part, msg_id || 'x', subject, data, now() FROM aegis.outbox
         WHERE subject = 'evt.case.transition.v1' AND version = 4 AND case_id = $some"],
    [I04 => 'a creation without its fact', "DELETE FROM aegis.outbox WHERE subject = 'evt.case.created.v1' AND case_id = $some"],
    [I04 => 'a command that was not sent', "DELETE FROM aegis.outbox WHERE ctid = (SELECT ctid FROM aegis.outbox
        WHERE subject = 'cmd.plan.generate' LIMIT 1) AND subject = 'cmd.plan.generate'"],
    [I04 => 'a command in a manual case', "UPDATE aegis.ops_case SET mode = 'manual' WHERE mode = 'auto' AND status = 'VERIFYING'"],
    [I05 => 'an unpublished row', "UPDATE aegis.outbox SET published_at = NULL WHERE version = 2 AND case_id = $some"],
    [I05 => 'a row that no broker has', "DELETE FROM t_bus WHERE version = 2 AND case_id = $some"],
    [I06 => 'a case whose messages changed places', "UPDATE t_bus SET seq = 1000000 WHERE subject = 'evt.case.transition.v1' AND version = 2 AND case_id = $some"],
    [I07 => 'a step that acted twice', "INSERT INTO t_effect SELECT * FROM t_effect LIMIT 1"],
    [I07 => 'an effect that nobody recorded', "INSERT INTO t_effect VALUES (gen_random_uuid(), 'step', 1, 1)"],
    [I07 => 'an effect whose end is not recorded', "UPDATE aegis.exec_step SET state = 'RUNNING'"],
    [I07 => 'a step that succeeded twice', "INSERT INTO aegis.exec_step SELECT tenant, case_id, exec_id, phase, step_no, 2, action, state, retry_safe, token
        FROM aegis.exec_step LIMIT 1"],
    [I08 => 'a success without its effect', "UPDATE aegis.case_timeline SET idem_key = 'other' WHERE version = 2 AND seq = 0 AND case_id = $some"],
    [I08 => 'an effect behind a refusal', "UPDATE aegis.case_timeline SET idem_key = (SELECT key FROM t_client WHERE status = 409 LIMIT 1)
        WHERE version = 3 AND seq = 0 AND case_id = $some AND principal LIKE 'aegis:%'; UPDATE aegis.case_timeline SET principal = 'tester'
        WHERE version = 3 AND seq = 0 AND case_id = $some"],
    [I08 => 'two effects of one key', "UPDATE aegis.case_timeline SET idem_key = (SELECT key FROM t_client WHERE status = 201 LIMIT 1)
        WHERE principal = 'tester' AND case_id = $some"],
    [I09 => 'a replay that differs', "INSERT INTO t_client SELECT tenant, key, route, status, problem, 'other', etag, location FROM t_client WHERE status = 201 LIMIT 1"],
    [I09 => 'a replay without its ETag', "INSERT INTO t_client SELECT tenant, key, route, status, problem, body_sha, '', location FROM t_client WHERE status = 200 LIMIT 1"],
    [I10 => 'a key kept too long', "UPDATE aegis.idempotency SET created_at = now() - interval '4 days' WHERE key = (SELECT key FROM t_client LIMIT 1)"],
    [I10 => 'an inbox that does not forget', "UPDATE aegis.inbox SET created_at = now() - interval '20 days' WHERE msg_id = (SELECT msg_id FROM aegis.inbox LIMIT 1)"],
    [I11 => 'a case that nothing will move', "UPDATE aegis.ops_case SET updated_at = now() - interval '1 hour' WHERE case_id = $some AND mode = 'auto';
        UPDATE aegis.ops_case SET updated_at = now() - interval '1 hour', mode = 'auto' WHERE status = 'VERIFYING'"],
    [I12 => 'a message in the inbox on two days', "INSERT INTO aegis.inbox SELECT tenant, consumer, msg_id, outcome, day + 1, created_at FROM aegis.inbox LIMIT 1"],
    [I12 => 'a message that moved two cases', "UPDATE aegis.case_timeline SET idem_key = 'same' WHERE principal = 'aegis:fsm' AND kind = 'transition'"],
    [I12 => 'a message that was noted twice', "UPDATE aegis.case_timeline SET idem_key = 'same' WHERE principal = 'aegis:fsm' AND kind = 'note'"],
    [I13 => 'a dead letter that was applied', "INSERT INTO aegis.dead_letter (tenant, consumer, subject, msg_id, code, reason, payload)
        SELECT tenant, consumer, 's', msg_id, 'c', 'r', '' FROM aegis.inbox LIMIT 1"],
    [I13 => 'a dead letter given up twice', "INSERT INTO aegis.dead_letter (tenant, consumer, subject, msg_id, code, reason, payload)
        VALUES ('a', 'c', 's', 'm', 'c', 'r', ''), ('b', 'c', 's', 'm', 'c', 'r', '')"],
    [I15 => 'a version that is not there yet', "INSERT INTO t_read SELECT tenant, case_id, version + 1, asked, told FROM t_read LIMIT 1"],
    [I15 => 'a version that was made after it was read', "INSERT INTO t_read SELECT tenant, case_id, version, asked, told - interval '1 hour' FROM t_read LIMIT 1"],
    [I15 => 'an older version than one that was acknowledged', "INSERT INTO t_client SELECT 'acme', 'k', '/case/create', 201, '', '', '', '', case_id, version + 1,
        asked - interval '1 s' FROM t_read LIMIT 1"],
    map({ [I14 => $_->[0], qq{INSERT INTO aegis.gate_request (tenant, case_id, request_id, plan_id, plan_hash, for_version, rule, needs, proposers, expires_at, state, decision_id)
        SELECT 'acme', c.case_id, gen_random_uuid(), gen_random_uuid(), 'h', 4, 'r', '[{"rule":"r","need":2,"four_eyes":true}]', '["alice"]', now(), '$_->[1]',
               (SELECT a.decision_id FROM aegis.plan_approved a WHERE a.case_id = c.case_id) FROM aegis.ops_case c WHERE c.case_id = $some;
        INSERT INTO aegis.gate_vote (tenant, case_id, request_id, principal, verdict, counts)
        SELECT q.tenant, q.case_id, q.request_id, split_part(v, ' ', 1), split_part(v, ' ', 2), '["r"]' FROM aegis.gate_request q, unnest(string_to_array('$_->[2]', ',')) v} ] }
        ['an approval by one of two', 'APPROVED', 'bob approve'], ['one by who proposed it', 'APPROVED', 'alice approve,bob approve'],
        ['one that somebody denied', 'APPROVED', 'bob approve,carol approve,dave deny'], ['an approval by silence', 'EXPIRED', 'bob approve']),
);
for my $d (@defects) {
    my ($name, $what, $sql) = @$d;
    $dbh->begin_work;
    my $changed = 0;
    $changed += $dbh->do($_) for split /;\s*/, $sql;
    cmp_ok($changed, '>', 0, "the defect can be made: $what") or diag($sql);
    cmp_ok(scalar @{ $inv->rows_of($name) }, '>', 0, "$name catches $what");
    $dbh->rollback;
}

# The lock half of I10 needs a transaction that stays open, and an old start.
my $other = $pg->connect(user => 'aegis_worker');
$other->do('SET search_path = aegis');
$other->begin_work;
$other->do('SELECT pg_advisory_xact_lock(42)');
my ($q) = grep { $_->{name} =~ /^I10/ } Aegis::Invariants->queries;
my $now = $q->{sql} =~ s/interval '90 s'/interval '0 s'/r;
cmp_ok(scalar @{ $dbh->selectall_arrayref($now) }, '>', 0, 'I10 sees a key lock that is held');
$other->rollback;
is(scalar @{ $dbh->selectall_arrayref($now) }, 0, 'I10 sees that it is gone');
my %covered = map { $_->[0] => 1 } @defects;
is_deeply([ grep { !$covered{ substr $_->{name}, 0, 3 } } Aegis::Invariants->queries ], [],
    'every invariant has a defect that it catches');

done_testing;
