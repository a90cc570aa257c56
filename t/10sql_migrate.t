# 10sql_migrate.t: the schema on a fresh cluster by `aegisctl db migrate`: once,
# again (nothing to do), status, a changed checksum refused; what each database
# role may and may not do; partitions made ahead and dropped behind, never with
# something unpublished in them.
use v5.36;
use lib 't/lib';
use Test::More;
use File::Path qw(make_path);
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $ctl = build_dir . '/aegisctl';
-x $ctl or BAIL_OUT("$ctl is missing: run make");
my $pg = Aegis::Pg->new;
$pg->dbh('postgres')->do('CREATE DATABASE aegis');
my $sql = scratch('sql') . '/copy';
run_ok(['cp', '-r', root . '/sql', $sql]);

sub ctl (@args) {
    return run([$ctl, 'db', @args, '--sql-dir', $sql], env => { DATABASE_URL => $pg->dsn('aegis'), san_env });
}

subtest 'an empty database' => sub {
    my $s = ctl('status');
    is($s->{rc}, 1, 'status says that there is something to do') or diag($s->{out} . $s->{err});
    my $dry = ctl('migrate', '--dry-run');
    is($dry->{rc}, 0, 'a dry run works') or diag($dry->{err});
    is($pg->one("SELECT count(*) FROM pg_namespace WHERE nspname = 'aegis'"), 0, 'and does nothing');
    my $r = ctl('migrate');
    is($r->{rc}, 0, 'migrate works') or diag($r->{out} . $r->{err});
    my @files = map { m{/(\d+)_} ? $1 + 0 : () } glob root . '/sql/migrations/*.sql';
    is_deeply($pg->dbh->selectcol_arrayref('SELECT version FROM aegis.schema_migration ORDER BY 1'), \@files, 'every migration is recorded');
    is($pg->one("SELECT count(*) FROM aegis.schema_migration WHERE checksum = '' OR applied_at IS NULL OR ms < 0"), 0, 'with checksum and time');
    is(ctl('status')->{rc}, 0, 'status says that all is there');
    is($pg->one("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
        WHERE n.nspname = 'aegis' AND r.rolname <> 'aegis_migrator'"), 0, 'everything belongs to aegis_migrator');
    is($pg->one('SELECT count(*) FROM aegis.fsm_transition'), scalar(() = slurp(root . '/core/tables/transitions.def') =~ /^AEGIS_TRANSITION\(/mg),
        'the state machine is in the database');
};

sub schema () {
    my $r = run(['pg_dump', '-s', '-n', 'aegis', '-d', $pg->dsn]);
    die $r->{err} if $r->{rc} ne '0';
    return $r->{out} =~ s/^\\(un)?restrict .*$//mgr;
}

subtest 'again' => sub {
    my $before = schema();
    my @rows = @{ $pg->rows('SELECT * FROM aegis.schema_migration ORDER BY 1') };
    my $r = ctl('migrate');
    is($r->{rc}, 0, 'it works') or diag($r->{err});
    is(schema(), $before, 'and changes nothing in the schema');
    is_deeply($pg->rows('SELECT * FROM aegis.schema_migration ORDER BY 1'), \@rows, 'nor in its record');
    my @two = map { start_process("migrate$_", [$ctl, 'db', 'migrate', '--sql-dir', $sql, '-d', $pg->dsn]) } 1, 2;
    ok(wait_for('both to end', 30, sub { !alive($two[0]{pid}) && !alive($two[1]{pid}) }), 'two at once come to an end');
    is_deeply([ map { stop_process($_) } @two ], [0, 0], 'both well') or diag(map { slurp($_->{log}) } @two);
};

subtest 'a script that has changed' => sub {
    my ($first) = sort glob "$sql/migrations/*.sql";
    my $was = slurp($first);
    my $before = schema();
    spew($first, "$was\n-- edited\nCREATE TABLE aegis.t_smuggled (x int);\n");
    my $r = ctl('migrate');
    isnt($r->{rc}, 0, 'an edited migration is refused');
    like($r->{err} . $r->{out}, qr/checksum|changed/i, 'and named');
    is(schema(), $before, 'nothing was done');
    isnt(ctl('status')->{rc}, 0, 'status says so');
    spew($first, $was);
    my $f = "$sql/functions/50_house.sql";
    my $text = slurp($f);
    spew($f, "$text\nCREATE OR REPLACE FUNCTION aegis.t_new() RETURNS int LANGUAGE sql AS 'SELECT 7';\n");
    isnt(ctl('status')->{rc}, 0, 'a changed function is seen');
    is(ctl('migrate')->{rc}, 0, 'and applied');
    is($pg->one('SELECT aegis.t_new()'), 7, 'it is there');
    ok(!$pg->one("SELECT has_function_privilege('aegis_reader', 'aegis.t_new()', 'execute')"), 'under the grants of 90_grants');
    spew($f, $text);
    is(ctl('migrate')->{rc}, 0, 'back');
    $pg->do('DROP FUNCTION aegis.t_new()');
    my $next = sprintf '%s/migrations/%04d_broken.sql', $sql, 9000;
    spew($next, "CREATE TABLE aegis.t_half (x int);\nSELECT 1/0;\n");
    isnt(ctl('migrate')->{rc}, 0, 'a migration that fails is told');
    is($pg->one("SELECT to_regclass('aegis.t_half')"), undef, 'and leaves nothing behind');
    spew($next, "-- nine thousand\nCREATE TABLE aegis.t_half (x int);\n");
    is(ctl('migrate')->{rc}, 0, 'corrected, it is applied');
    unlink $next;
    isnt(ctl('migrate')->{rc}, 0, 'a database that is ahead of these scripts is left alone');
    $pg->do('DELETE FROM aegis.schema_migration WHERE version = 9000');
    $pg->do('DROP TABLE aegis.t_half');
};

# --- least privilege: [statement, roles that may]
my $id = uuid;
my @rights = (
    ['SELECT count(*) FROM aegis.ops_case', qw(gateway worker reader)],
    ["SELECT * FROM aegis.case_read(ARRAY['t'], ARRAY['$id'::uuid])", qw(gateway worker)],
    ["SELECT * FROM aegis.case_get(ARRAY['t'], ARRAY['$id'::uuid], ARRAY['r'])", qw(gateway worker)],
    ["INSERT INTO aegis.ops_case (tenant, case_id, title) VALUES ('t', gen_random_uuid(), 'x')", qw(gateway worker)],
    ["UPDATE aegis.ops_case SET notes = notes", qw(gateway worker)],
    ['DELETE FROM aegis.ops_case'],
    ["UPDATE aegis.case_timeline SET reason = 'rewritten'"],
    ['DELETE FROM aegis.case_timeline'],
    ['UPDATE aegis.gate_decision SET verdict = verdict'],
    ['UPDATE aegis.plan_approved SET not_after = now()'],
    ['UPDATE aegis.plan_proposed SET complete = true'],
    ['DELETE FROM aegis.plan_proposed'],
    ['UPDATE aegis.verify_checkpoint SET passed = true'],
    ['UPDATE aegis.outbox SET published_at = now()', qw(worker)],
    ['DELETE FROM aegis.outbox'],
    ['UPDATE aegis.idempotency SET status = 200'],
    ['DELETE FROM aegis.idempotency'],
    ['DELETE FROM aegis.inbox'],
    ["UPDATE aegis.exec_run SET owner = owner", qw(worker)],
    ["UPDATE aegis.dead_letter SET state = state", qw(worker)],
    ["INSERT INTO aegis.gate_policy (hash, body, source) VALUES ('h', '{}', 's')", qw(worker)],
    ['UPDATE aegis.gate_policy SET body = body'],
    ['UPDATE aegis.fsm_transition SET guard = guard'],
    ['DELETE FROM aegis.fsm_transition'],
    ["INSERT INTO aegis.schema_migration SELECT * FROM aegis.schema_migration WHERE false"],
    ['SELECT * FROM aegis.maintain()', qw(worker)],
    ['SELECT aegis.outbox_mark(ARRAY[0]::smallint[], ARRAY[0]::bigint[])', qw(worker)],
    [q{SELECT aegis.outbox_next('{0}', 1, NULL, NULL, NULL)}, qw(worker)],
    [q{SELECT aegis.audit_seal_table('vote', 1, 1)}, qw(worker)],
    ['TRUNCATE aegis.ops_case'],
    ['CREATE TABLE aegis.t_mine (x int)'],
    ['CREATE TABLE public.t_mine (x int)'],
    ['DROP TABLE aegis.inbox'],
    ['ALTER TABLE aegis.ops_case ADD COLUMN x int'],
    ['CREATE ROLE t_more'],
    ['SET ROLE aegis_migrator'],
);
subtest 'each role may do what it needs and no more' => sub {
    for my $role (qw(gateway worker reader)) {
        my $dbh = $pg->connect(user => "aegis_$role");
        for my $r (@rights) {
            my ($statement, @may) = @$r;
            $dbh->begin_work;
            $dbh->do(q{SELECT set_config('aegis.tenants', E'\x1ft\x1f', true)});
            my $ok = eval { $dbh->do($statement); 1 } ? 1 : 0;
            my $why = $@;
            my $state = $dbh->state;
            $dbh->rollback;
            my $may = (grep { $_ eq $role } @may) ? 1 : 0;
            # a refusal must be one of rights, not of something else
            my $fits = $may ? $ok : !$ok && $state =~ /^(42501|0LP01|42939)$/;
            ok($fits, "$role may " . ($may ? '' : 'not ') . substr $statement, 0, 70) or diag($ok ? 'it may' : $why);
        }
        like($dbh->selectrow_array('SHOW search_path'), qr/^aegis, pg_catalog$/, "$role has its search path pinned");
        $dbh->disconnect;
    }
    my $d = $pg->connect(user => 'aegis_gateway');
    is($d->selectrow_array('SHOW lock_timeout'), '2s', 'waits for locks are bounded');
    $pg->do("ALTER DATABASE aegis SET default_transaction_isolation = 'repeatable read'");
    is($pg->connect(user => "aegis_$_")->selectrow_array('SHOW default_transaction_isolation'), 'read committed',
        "$_ looks with fresh eyes, whatever the database's default") for qw(gateway worker);
    $pg->do('ALTER DATABASE aegis RESET default_transaction_isolation');
    isnt($d->selectrow_array('SHOW statement_timeout'), '0', 'statements too');
    is($d->selectrow_array('SHOW timezone'), 'UTC', 'times are UTC');
};

subtest 'partitions' => sub {
    my @parents = map { $_->[0] } @{ $pg->dbh->selectall_arrayref(q{SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname = 'aegis' AND relkind = 'p' ORDER BY 1}) };
    is_deeply(\@parents, [qw(idempotency inbox log_pattern_5m metric_1m outbox service_call_5m)], 'the ledgers that grow by the day are partitioned by it');
    my $today = $pg->one(q{SELECT (now() AT TIME ZONE 'UTC')::date});
    for my $p (@parents) {
        my $unit = $p =~ /_5m$/ ? 'month' : 'day';
        for my $n (0 .. 3) {
            my $name = $pg->one("SELECT ? || '_' || to_char(date_trunc('$unit', ?::date + ?::int), 'YYYYMMDD')", $p, $today, $n);
            ok($pg->one('SELECT to_regclass(?)', "aegis.$name"), "$name is there" . ($n ? " $n days ahead" : ''));
        }
    }
    # rows of days ago, each in a partition of its day
    my $old = sub ($parent, $days, $insert) {
        my $name = $pg->one("SELECT ? || '_' || to_char(?::date - ?::int, 'YYYYMMDD')", $parent, $today, $days);
        my ($from, $to) = $parent =~ /^(outbox|metric_1m)$/ ? ("(date '$today' - $days)::timestamptz", "(date '$today' - $days + 1)::timestamptz")
            : ("date '$today' - $days", "date '$today' - $days + 1");
        ($from, $to) = map { $pg->one("SELECT ($_)::text") } $from, $to;
        $pg->do("CREATE TABLE aegis.$name PARTITION OF aegis.$parent FOR VALUES FROM ('$from') TO ('$to')");
        $pg->do("ALTER TABLE aegis.$name OWNER TO aegis_migrator");
        $pg->do($insert) if $insert;
        return $name;
    };
    my $ob = q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, created_at, published_at)
        VALUES ('t', gen_random_uuid(), 1, 0, 'm', 's', '{}', now() - interval '%d days', %s)};
    my %gone = (
        $old->('outbox', 5, sprintf $ob, 5, 'now()') => 'an outbox day, all published',
        $old->('idempotency', 4, "INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code, body)
            VALUES ('t', 'p', 'k', date '$today' - 4, '', 200, 'ok', '')") => 'keys of four days ago',
        $old->('inbox', 10, "INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome, day) VALUES ('t', 'c', 'm', 'ok', date '$today' - 10)") => 'an inbox day',
        $old->('metric_1m', 190, undef) => 'minutes of half a year ago',
    );
    my %kept = (
        $old->('outbox', 6, sprintf $ob, 6, 'NULL') => 'an outbox day with a row that was not published',
        $old->('outbox', 2, sprintf $ob, 2, 'now()') => 'an outbox day within its retention',
        $old->('idempotency', 1, undef) => 'yesterday\'s keys',
        $old->('inbox', 7, undef) => 'an inbox day that the bus may still repeat',
        $old->('metric_1m', 170, undef) => 'minutes of less than 180 days ago',
    );
    # months, which go when their last day is old enough
    my $month = sub ($parent, $days) {
        my ($name, $from, $to) = @{ $pg->dbh->selectrow_arrayref(q{SELECT ? || '_' || to_char(m, 'YYYYMMDD'), m::text, (m + interval '1 month')::date::text
            FROM (SELECT date_trunc('month', ?::date - ?::int)::date AS m) x}, undef, $parent, $today, $days) };
        $pg->do("CREATE TABLE aegis.$name PARTITION OF aegis.$parent FOR VALUES FROM ('$from 00:00+00') TO ('$to 00:00+00')");
        $pg->do("ALTER TABLE aegis.$name OWNER TO aegis_migrator");
        return $name;
    };
    $gone{ $month->(@$_) } = "$_->[0] of a month that ended before its retention" for ['service_call_5m', 400], ['log_pattern_5m', 215];
    $kept{ $month->(@$_) } = "$_->[0] of a month that has days within it" for ['service_call_5m', 364], ['log_pattern_5m', 179];
    # what came without a partition of its month
    my @stray = map { [$_->[0], @{ $_->[1] }] } (['service_call_5m', [500, 200]], ['log_pattern_5m', [300, 100]]);
    for (@stray) {
        my ($table, @days) = @$_;
        my ($cols, $vals) = $table eq 'service_call_5m' ? ('caller, callee, calls, rps, err_rate', "'a', 'b', 1, 1, 0") : ('resource, fingerprint, count', "'a', 'b', 1");
        $pg->do("INSERT INTO aegis.$table (tenant, bucket, $cols) VALUES ('t', now() - interval '$_ days', $vals)") for @days;
    }
    # what was learned of a series or a template goes with the last row of it
    for my $s (['metric', 185], ['metric', 175], ['call', 370], ['call', 360], ['log', 185]) {
        $pg->do("INSERT INTO aegis.analyst_series (tenant, source, resource, metric, mark) VALUES ('t', '$s->[0]', 'r', '$s->[1]', now() - interval '$s->[1] days')");
        $pg->do("INSERT INTO aegis.analyst_state (tenant, source, resource, metric, state) VALUES ('t', '$s->[0]', 'r', '$s->[1]', '')");
    }
    $pg->do("INSERT INTO aegis.log_pattern (tenant, resource, fingerprint, template, sample, first_seen, last_seen)
        SELECT 't', 'r', d, '', '', now() - interval '300 days', now() - d * interval '1 day' FROM unnest('{185,175}'::int[]) d");
    my $worker = $pg->connect(user => 'aegis_worker');
    my $did = $worker->selectall_arrayref('SELECT action, partition FROM aegis.maintain()');
    is_deeply([ sort map { $_->[1] } grep { $_->[0] eq 'drop' } @$did ], [ sort keys %gone ], 'maintain() says what it dropped');
    ok(!$pg->one('SELECT to_regclass(?)', "aegis.$_"), "dropped: $gone{$_}") for sort keys %gone;
    ok($pg->one('SELECT to_regclass(?)', "aegis.$_"), "kept: $kept{$_}") for sort keys %kept;
    is_deeply($pg->dbh->selectcol_arrayref("SELECT extract(day FROM now() - bucket)::int FROM aegis.$_->[0]_default ORDER BY 1"), [$_->[2]], "of $_->[0] without a partition the old go") for @stray;
    is_deeply($pg->dbh->selectcol_arrayref("SELECT source || metric FROM aegis.$_ ORDER BY 1"), ['call360', 'metric175'], "$_ of those that have rows stay") for qw(analyst_series analyst_state);
    is_deeply($pg->dbh->selectcol_arrayref('SELECT fingerprint FROM aegis.log_pattern'), ['175'], 'templates that were seen in half a year, too');
    is(scalar @{ $worker->selectall_arrayref('SELECT * FROM aegis.maintain()') }, 0, 'run again it has nothing to do');
    my $r = run([$ctl, 'db', 'maintain', '-d', $pg->dsn], env => {san_env});
    is($r->{rc}, 0, 'aegisctl db maintain does the same') or diag($r->{err});
    # the grants reach partitions that were made later
    my $g = $pg->connect(user => 'aegis_gateway');
    my ($c) = Aegis::Sql::call($g, 'CASE_CREATE', { case_id => uuid, tenant => 't' });
    is($c->{status}, 201, 'the gateway writes into the partitions of today');
};

subtest 'a tenant\'s rows are out of another\'s reach' => sub {
    my $tables = $pg->rows(q{SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
            (SELECT array_agg(p.polname::text ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'
       WHERE c.relnamespace = 'aegis'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition});
    cmp_ok(scalar @$tables, '>=', 16, 'tables of tenants');
    for (@$tables) {
        ok($_->{forced}, "$_->{relname}: row-level security is forced");
        is_deeply($_->{policies}, [qw(tenant_all tenant_gateway tenant_read tenant_worker)], 'and each role has its policy');
    }
    my $made = {};
    my ($gw, $worker) = map { $pg->connect(user => "aegis_$_") } qw(gateway worker);
    $made->{$_} = Aegis::Sql::call($gw, 'CASE_CREATE', { case_id => uuid, tenant => $_, tags => '["seen"]' }) for qw(mine yours);
    my $count = sub ($dbh, $who, $table) {
        $dbh->begin_work;
        $dbh->do('SELECT set_config(?, ?, true)', undef, 'aegis.tenants', $who) if defined $who;
        my $n = join ' ', map { "$_->[0]=$_->[1]" } @{ $dbh->selectall_arrayref(
            "SELECT tenant, count(*) FROM aegis.$table WHERE tenant IN ('mine', 'yours') GROUP BY 1 ORDER BY 1") };
        $dbh->rollback;
        return $n;
    };
    for my $table (qw(ops_case case_tag case_timeline outbox idempotency)) {
        is($count->($gw, undef, $table), '', "$table: who does not say for whom it acts sees nothing");
        is($count->($gw, "\x1fmine\x1f", $table), 'mine=1', 'who does sees that tenant\'s');
        is($count->($gw, "\x1fyours\x1fmine\x1f", $table), 'mine=1 yours=1', 'a group sees those of its members');
        is($count->($gw, "\x1fmin\x1f", $table), '', 'a part of a name is no name');
        is($count->($gw, '*', $table), '', 'the gateway cannot mean all');
        is($count->($worker, '*', $table), 'mine=1 yours=1', 'housekeeping can');
    }
    is($gw->selectrow_array(q{SELECT coalesce(current_setting('aegis.tenants', true), '')}), '', 'nothing is left on the connection');
    $gw->begin_work;
    $gw->do('SELECT set_config(?, ?, true)', undef, 'aegis.tenants', "\x1fmine\x1f");
    ok(!eval { $gw->do(q{INSERT INTO aegis.case_tag VALUES ('yours', 'x', now(), gen_random_uuid())}); 1 }, 'a row of another tenant cannot be written');
    like($@, qr/row-level security/, 'and that is why') ;
    $gw->rollback;
    my ($part) = $pg->one(q{SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' AND relname ~ '^outbox_2' LIMIT 1});
    ok(!eval { $gw->do("SELECT * FROM aegis.$part"); 1 }, 'nor is a partition a way around');
    is($gw->state, '42501', 'it is refused');
};

subtest 'every query of the product has an index' => sub {
    # the roles' enable_seqscan = off makes a sequential scan visible by its cost
    my $g = $pg->connect(user => 'aegis_gateway');
    my %q = (
        'a case'           => "SELECT * FROM aegis.ops_case WHERE tenant = 't' AND case_id = '$id'",
        'the newest cases' => "SELECT * FROM aegis.ops_case WHERE tenant = 't' AND created_at <= now() AND (created_at, case_id) < (now(), '$id') ORDER BY created_at DESC, case_id DESC LIMIT 51",
        'cases of a tag'   => "SELECT * FROM aegis.case_tag WHERE tenant = 't' AND tag = 'x' ORDER BY created_at DESC, case_id DESC LIMIT 51",
        'a timeline'       => "SELECT * FROM aegis.case_timeline WHERE tenant = 't' AND case_id = '$id' ORDER BY version, seq LIMIT 51",
        'a key'            => "SELECT * FROM aegis.idempotency WHERE tenant = 't' AND principal = 'p' AND key = 'k' AND day >= date '2026-01-01'",
        'a message'        => "SELECT * FROM aegis.inbox WHERE tenant = 't' AND consumer = 'c' AND msg_id = 'm'",
        'a plan'           => "SELECT * FROM aegis.plan_proposed WHERE tenant = 't' AND plan_id = '$id'",
        'a run'            => "SELECT * FROM aegis.exec_run WHERE tenant = 't' AND exec_id = '$id'",
        'steps of a run'   => "SELECT * FROM aegis.exec_step WHERE tenant = 't' AND exec_id = '$id'",
        'open runs'        => "SELECT * FROM aegis.exec_run WHERE state IN ('QUEUED', 'RUNNING') AND lease_until < now() ORDER BY lease_until LIMIT 10",
        'a backlog'        => "SELECT * FROM aegis.outbox WHERE published_at IS NULL AND part = ANY ('{0,1}') ORDER BY id LIMIT 10",
        'a metric'         => "SELECT * FROM aegis.metric_1m WHERE tenant = 't' AND resource = 'r' AND metric = 'm' AND bucket > now() - interval '5 min'",
        'an approval'      => "SELECT * FROM aegis.plan_approved WHERE tenant = 't' AND case_id = '$id' AND plan_id = '$id'",
        'a checkpoint'     => "SELECT * FROM aegis.verify_checkpoint WHERE tenant = 't' AND case_id = '$id' AND for_version = 3",
    );
    for my $what (sort keys %q) {
        my $plan = join "\n", map { $_->[0] } @{ $g->selectall_arrayref("EXPLAIN $q{$what}") };
        unlike($plan, qr/Seq Scan/, "$what is found by an index") or diag($plan);
    }
};

done_testing;
