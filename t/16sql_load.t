# 16sql_load.t: what only shows on filled tables and under traffic: how many
# rows a statement reads to answer, and that housekeeping holds nobody up.
# Rows read are counted by PostgreSQL itself, so that nothing here depends on
# how fast the machine is.
use v5.36;
use lib 't/lib';
use DBD::Pg qw(:async);
use Encode qw(encode_utf8);
use Test::More;
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;
use Time::HiRes qw(time);

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $parts = '{' . join(',', 0 .. 15) . '}';

$pg->do(q{INSERT INTO aegis.ops_case (tenant, case_id, status, closed, version, title, tags, created_at, updated_at)
    SELECT CASE WHEN g % 10 = 0 THEN 'beta' ELSE 'acme' END, md5(g::text)::uuid,
           CASE WHEN g % 2000 = 7 THEN 'PLANNING' ELSE 'CLOSED' END, g % 2000 <> 7, 7, 'case ' || g,
           jsonb_build_array('often', 't' || g % 5000), now() - g * interval '1 minute', now() - interval '1 hour'
      FROM generate_series(1, 20000) g});
$pg->do(q{INSERT INTO aegis.case_tag SELECT c.tenant, t.tag, c.created_at, c.case_id
    FROM aegis.ops_case c, jsonb_array_elements_text(c.tags) AS t(tag)});
$pg->do(q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data)
    SELECT 'acme', c.id, 1, aegis.outbox_part(c.id), g || ':x', 'evt.case.transition.v1', '{}'
      FROM generate_series(1, 30000) g, LATERAL (SELECT md5(g::text)::uuid AS id) c});
$pg->do('ANALYZE');

# Rows of a table (or of its partitions) that a statement takes to answer.
sub rows_read ($dbh, $table, $sql, @bind) {
    my $count = sub { ($dbh->selectrow_array(q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0)
        FROM pg_stat_xact_user_tables WHERE relname ~ ('^' || $1)}, undef, $table))[0] };
    $dbh->begin_work;
    my $before = $count->();
    my $rows = $dbh->selectall_arrayref($sql, { Slice => {} }, @bind);
    my $n = $count->() - $before;
    $dbh->rollback;
    return ($n, $rows);
}

subtest 'a backlog is worked off batch by batch' => sub {
    my $w = $pg->connect(user => 'aegis_worker');
    my ($n, $rows) = rows_read($w, 'outbox', 'SELECT * FROM aegis.outbox_fetch(?::smallint[], 100)', $parts);
    is(scalar @$rows, 100, 'a batch');
    is_deeply([ map { $_->{id} } @$rows ], [ sort { $a <=> $b } map { $_->{id} } @$rows ], 'the oldest first');
    is($rows->[0]{id}, $pg->one('SELECT min(id) FROM aegis.outbox'), 'from the head of the backlog');
    is($rows->[99]{id}, $pg->one('SELECT max(id) FROM (SELECT id FROM aegis.outbox ORDER BY id LIMIT 100) x'), 'without a gap');
    cmp_ok($n, '<=', 16 * 33, 'a batch of 100 does not read the 30000 behind it, nor all that its parts may have');
    ($n, my $over) = rows_read($w, 'outbox', 'SELECT * FROM aegis.outbox_next(?::smallint[], 100, NULL, NULL, NULL)', $parts);
    is(scalar @$over, 101, 'one more than a batch says that there are more');
    cmp_ok($n, '<=', 101, 'and no other is read for it');
    my @ids = map { $_->{id} } @$rows;
    my ($at, $part) = map { my $k = $_; [map { $_->{$k} } @$rows] } qw(created_at part);
    for my $mark (['SELECT aegis.outbox_mark(?::smallint[], ?::bigint[]) AS n', $parts, \@ids],
        ['SELECT aegis.outbox_mark(?::smallint[], ?::bigint[], ?::timestamptz[]) AS n', $part, \@ids, $at]) {
        my ($read, $marked) = rows_read($w, 'outbox', @$mark);
        is($marked->[0]{n}, 100, 'it is marked');
        cmp_ok($read, '<=', 300, 'which does not read them either');
    }
    my ($some) = $w->selectrow_array(q{SELECT count(*) FROM aegis.outbox_fetch('{3,5}', 1000) WHERE part NOT IN (3, 5)});
    is($some, 0, 'and none of a partition that is another relay\'s');

    my ($looked, $lags) = rows_read($w, 'outbox', 'SELECT * FROM aegis.outbox_lag()');
    my $lag = $lags->[0];
    cmp_ok(abs($lag->{pending} - 30000), '<', 1500, "the lag tells how many there are: $lag->{pending}");
    cmp_ok($looked, '<=', 16 * 257, 'and does not read all of them for it');
    my $oldest = $pg->one('SELECT extract(epoch FROM now() - min(created_at)) FROM aegis.outbox');
    cmp_ok(abs($lag->{oldest_s} - $oldest), '<', 5, 'and knows the oldest');
};

subtest 'a planner that has not heard of the backlog does not read all of it' => sub {
    my $dbh = $pg->dbh;
    my $count = sub { ($dbh->selectrow_array(q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_xact_user_tables WHERE relname ~ '^outbox'}))[0] };
    $dbh->begin_work;
    $dbh->do(q{UPDATE pg_class SET reltuples = 300 WHERE relname ~ '^outbox_'});
    for my $sql (q{SELECT count(*) FROM aegis.outbox_fetch('{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}', 100)}, 'SELECT pending FROM aegis.outbox_lag()') {
        my $before = $count->();
        $dbh->selectrow_array($sql);
        my $n = $count->() - $before;
        cmp_ok($n, '<=', 16 * 257, "$n rows of 30000 for $sql");
    }
    $dbh->do('UPDATE aegis.outbox SET published_at = now() WHERE id > (SELECT id FROM aegis.outbox ORDER BY id OFFSET 1234 LIMIT 1)');
    is(($dbh->selectrow_array('SELECT pending FROM aegis.outbox_lag()'))[0], 1235, 'of few each is counted');
    $dbh->rollback;
};

subtest 'runs are taken from the head of their queue' => sub {
    $pg->do(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash, complete, plan, created_by)
        SELECT 'acme', md5('r' || g)::uuid, 1, md5('p' || g)::uuid, 1, 'h', true, '{"steps":[{}]}', 't' FROM generate_series(1, 5000) g});
    $pg->do(q{INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, created_by, created_at)
        SELECT 'acme', md5('r' || g)::uuid, md5('x' || g)::uuid, md5('p' || g)::uuid, 1, 't', now() - g * interval '1 s' FROM generate_series(1, 5000) g});
    $pg->do(q{UPDATE aegis.exec_run SET state = 'RUNNING', owner = 'gone', lease_until = now() - interval '1 s', created_at = now() WHERE exec_id = md5('x1')::uuid});
    my $w = $pg->connect(user => 'aegis_worker');
    my ($n, $rows) = rows_read($w, 'exec_run', q{SELECT exec_id FROM aegis.exec_claim('me', 4, 60)});
    cmp_ok($n, '<=', 16, 'four of 5000 are taken without a look at the others');
    is_deeply([ sort map { $_->{exec_id} } @$rows ], [ sort map { $pg->one('SELECT md5(?)::uuid', "x$_") } 1, 4998 .. 5000 ],
        'those that waited longest, and the one whose executor is gone');
    $pg->do('DELETE FROM aegis.exec_run');
};

subtest 'a refusal reads its key, not the ledger' => sub {
    # planned on empty tables, as on the first day; then both have grown
    my $w = $pg->connect(user => 'aegis_worker');
    my $case = $pg->one(q{SELECT case_id FROM aegis.ops_case WHERE tenant = 'acme' LIMIT 1});
    my $refuse = sub { Aegis::Sql::call($w, 'CASE_TRANSITION', { tenant => 'acme', principal => 'tester', case_id => $case, event => 'start_analysis', key => new_key() }) };
    $refuse->() for 1 .. 8;
    $pg->do(q{INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code, version, body)
        SELECT 'acme', 'tester', 'grown-' || g, (now() AT TIME ZONE 'UTC')::date, '\\x00', 412, 'version-mismatch', 1, '{}' FROM generate_series(1, 20000) g});
    my $count = sub { ($w->selectrow_array(q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_xact_user_tables WHERE relname ~ '^(idempotency|ops_case)'}))[0] };
    $w->begin_work;
    my $before = $count->();
    my ($r) = $refuse->();
    my $n = $count->() - $before;
    $w->rollback;
    is($r->{status}, 409, 'it is refused');
    cmp_ok($n, '<', 20, "20000 keys of the same principal are not looked through: $n rows read");
};

subtest 'a fresh case is read, not what its tenant has had planned' => sub {
    # planned on tables that nobody has analyzed yet, as on the first day
    my $young = Aegis::Pg->new(name => 'young');
    $young->load_schema;
    my $w = $young->connect(user => 'aegis_worker');
    my $id = uuid;
    my ($r) = Aegis::Sql::call($w, 'CASE_CREATE', { tenant => 'acme', case_id => $id, mode => 'auto', title => 'fresh' });
    is($r->{status}, 201, 'a case is new');
    my $load = sub { Aegis::Sql::call($w, 'WAY_LOAD', { tenant => 'acme', case_id => $id, fact_version => 1, module => 'way:' }) };
    $load->() for 1 .. 8;
    $young->do(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, hash, complete, plan, created_by)
        SELECT 'acme', md5('planned' || g)::uuid, 1, md5('plan' || g)::uuid, 3, '', true, '{}', 'tester' FROM generate_series(1, 20000) g});
    my $count = sub { ($w->selectrow_array(q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_xact_user_tables WHERE schemaname = 'aegis'}))[0] };
    $w->begin_work;
    my $before = $count->();
    ($r) = $load->();
    my $n = $count->() - $before;
    $w->rollback;
    is($r->{version}, 1, 'and is found');
    cmp_ok($n, '<', 50, "20000 plans of other cases are not looked through: $n rows read");
};

subtest 'a page of cases reads a page of cases' => sub {
    my $g = $pg->connect(user => 'aegis_gateway');
    my %want = (
        'the newest'            => [ {}, 50 ],
        'a state with few'      => [ { status => 'PLANNING' }, 10 ],
        'a state with none'     => [ { status => 'PARKED' }, 0 ],
        'the usual state'       => [ { status => 'CLOSED' }, 50 ],
        'a rare tag'            => [ { tag => 't77' }, 4 ],
        'a tag that nobody has' => [ { tag => 'nope' }, 0 ],
        'a common tag'          => [ { tag => 'often' }, 50 ],
        'tag and state'         => [ { tag => 't7', status => 'PLANNING' }, 2 ],
        'a common tag and state' => [ { tag => 'often', status => 'PLANNING' }, 10 ],
        'a tenant with few'     => [ { tenant => 'zeta' }, 0 ],
    );
    for my $what (sort keys %want) {
        my ($filter, $items) = @{ $want{$what} };
        for my $from (undef, '<0.00000000-0000-0000-0000-000000000000') {       # the newest, and the last before the oldest time
            my $way = defined $from ? ', backwards' : '';
            my ($n, $rows) = rows_read($g, 'ops_case',
                'SELECT * FROM aegis.case_list(ARRAY[?::text], ARRAY[?::text], ARRAY[?::text], ARRAY[NULL::timestamptz],
                 ARRAY[NULL::timestamptz], ARRAY[50], ARRAY[?::text])', $filter->{tenant} // 'acme', @$filter{qw(status tag)}, $from);
            my @found = $rows->[0]{body} =~ /"case_id"/g;
            is(scalar @found, $items, "$what$way: $items");
            cmp_ok($n, '<=', 300, "$what$way: without walking through the others") or diag("$n rows were read");
        }
    }
};

subtest 'cases come to rest, and a page of one state finds them' => sub {
    my ($g, $w) = ($pg->connect(user => 'aegis_gateway'), $pg->connect(user => 'aegis_worker'));
    $pg->do(q{INSERT INTO aegis.ops_case (tenant, case_id, status, title, created_at, updated_at)
        SELECT 'rest', md5('rest' || g)::uuid, CASE WHEN g % 1000 = 5 THEN 'NEW' ELSE 'PARKED' END, 'resting',
               now() - g * interval '1 s', now() - interval '61 s' FROM generate_series(1, 3000) g});
    my $page = sub ($state, $after = undef) {
        my ($n, $rows) = rows_read($g, 'ops_case', 'SELECT * FROM aegis.case_list(ARRAY[?], ARRAY[?::text], ARRAY[NULL::text],
            ARRAY[NULL::timestamptz], ARRAY[NULL::timestamptz], ARRAY[50], ARRAY[?::text])', 'rest', $state, $after);
        return ($n, $rows->[0]{extra}, map { $_->{case_id} } @{ json_decode(encode_utf8($rows->[0]{body})) });
    };
    my $of = sub ($state) { $pg->dbh->selectcol_arrayref(q{SELECT case_id::text FROM aegis.ops_case WHERE tenant = 'rest' AND status = ?
        ORDER BY created_at DESC, case_id DESC}, undef, $state) };
    my $held = $pg->connect;
    $held->begin_work;
    my ($kept) = $held->selectrow_array(q{SELECT case_id FROM aegis.ops_case WHERE tenant = 'rest' AND status = 'NEW' ORDER BY case_id LIMIT 1 FOR UPDATE});
    my $rounds = 0;
    while ($w->selectrow_array("SELECT aegis.settle('60 s', 500)") == 500) { last if ++$rounds > 100 }
    $held->rollback;
    is($pg->one(q{SELECT string_agg(case_id::text, ' ') FROM aegis.ops_case WHERE tenant = 'rest' AND settled <> status}), $kept, 'all are at rest but the one that was held');
    $pg->do('ANALYZE aegis.ops_case');
    my ($n, $next, @ids) = $page->('NEW');
    is_deeply(\@ids, $of->('NEW'), 'both kinds are on the page, in order');
    cmp_ok($n, '<=', 10, 'and nothing else was read') or diag($n);
    ($n) = $page->('EXECUTING');
    cmp_ok($n, '<=', 1, 'for a state that no case is in, only what moves is read');
    my @moved = @{ $of->('PARKED') }[10, 70, 2000];
    for my $id (@moved) {
        my ($r) = Aegis::Sql::call($g, 'CASE_TRANSITION', { tenant => 'rest', case_id => $id, event => 'start_analysis', key => new_key(), hash => '\\x01' });
        is($r->{code}, 'ok', 'a case moves');
    }
    (undef, $next, @ids) = $page->('ANALYZING');
    is_deeply(\@ids, \@moved, 'it is on the page of its new state at once');
    my @all;
    for ($next = undef;;) {
        ($n, $next, @ids) = $page->('PARKED', $next);
        push @all, @ids;
        cmp_ok($n, '<=', 60, 'a page reads a page') or diag($n);
        last if !defined $next || $next =~ / end$/ || @all > 3000;
    }
    is_deeply(\@all, $of->('PARKED'), 'and page by page, the others are all there, once, without it');
    my @back = @ids;
    while (my ($prev) = ($next // '') =~ / (<\S+)/) {
        ($n, $next, @ids) = $page->('PARKED', $prev);
        unshift @back, @ids;
        cmp_ok($n, '<=', 120, 'a page before reads its keys and itself') or diag($n);
        last if @back > 3000;
    }
    is_deeply(\@back, \@all, 'and back again by the pages before');
    my $hot = sub { $pg->one(q{SELECT pg_stat_get_xact_tuples_hot_updated('aegis.ops_case'::regclass)}) };
    $pg->dbh->begin_work;
    for my $event ('force_park', 'start_analysis') {
        my $before = $hot->();
        Aegis::Sql::call($pg->dbh, 'CASE_TRANSITION', { tenant => 'rest', case_id => $moved[0], event => $event, key => new_key(), hash => '\\x01' });
        is($hot->(), $before + 1, 'a case that moves changes no index');
    }
    $pg->dbh->rollback;
    is($w->selectrow_array("SELECT aegis.settle('60 s', 500)"), 1, 'what moved is not at rest, what was held is by now');
};

subtest 'a page has a size in bytes, too' => sub {
    my $g = $pg->connect(user => 'aegis_gateway');
    my $wide = json_encode({ map { ("k$_" => "\x{4e2d}" x 512) } 1 .. 30 });
    $pg->do(q{INSERT INTO aegis.ops_case (tenant, case_id, title, labels, created_at)
        SELECT 'wide', md5(g::text)::uuid, 'wide', $1::jsonb, now() - g * interval '1 s' FROM generate_series(1, 60) g}, $wide);
    $pg->do(q{INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status, actor, principal, meta)
        SELECT 'wide', md5('1')::uuid, g, 'transition', 'e', 'NEW', 'a', 'p', $1::json FROM generate_series(1, 60) g}, $wide);
    for my $of (['case_list', 'NULL::text', 'NULL::text', 'NULL::timestamptz', 'NULL::timestamptz', 50],
                ['case_timeline_page', q{md5('1')::uuid}, 50]) {
        my ($f, @more) = @$of;
        my ($after, %seen, $largest, $pages);
        do {
            my $r = $g->selectrow_hashref("SELECT * FROM aegis.$f(ARRAY['wide'], " . join(', ', map { "ARRAY[$_]" } @more, '?::text',
                $f eq 'case_list' ? () : "'r'") . ')', undef, $after);
            $largest = length $r->{body} if length $r->{body} > ($largest // 0);
            $seen{ $_->{case_id} // $_->{version} }++ for @{ json_decode(encode_utf8($r->{body})) };
            $after = ($r->{extra} // '') =~ / end$/ ? undef : $r->{extra};      # the rest of it is not asked for
            $pages++;
        } while (defined $after && $pages < 100);
        is(join(' ', scalar keys %seen, grep { $_ != 1 } values %seen), 60, "$f: every item is on one page");
        cmp_ok($largest, '<', 1_200_000, "$f: no page is much larger than 1 MiB");
        cmp_ok($pages, '>', 2, "$f: there are more of them instead");
    }
};

subtest 'a key may be remembered for less than a day' => sub {
    my $g = $pg->connect(user => 'aegis_gateway');
    $g->do("SET aegis.idempotency_ttl = '1 hour'");
    my %item = (case_id => uuid, key => new_key(), hash => '\\x01');
    my ($first) = Aegis::Sql::call($g, 'CASE_CREATE', \%item);
    $pg->do(q{UPDATE aegis.idempotency SET created_at = now() - interval '61 minutes' WHERE key = $1}, $item{key});
    my ($r) = eval { Aegis::Sql::call($g, 'CASE_CREATE', { %item, case_id => uuid }) };
    is($r && $r->{code}, 'replay', 'past it, on the same day, it is still known') or diag($@);
    $pg->do(q{UPDATE aegis.idempotency SET day = day - 1, created_at = created_at - interval '1 day' WHERE key = $1}, $item{key});
    ($r) = eval { Aegis::Sql::call($g, 'CASE_CREATE', { %item, case_id => uuid }) };
    is($r && $r->{code}, 'ok', 'past it, on another day, it is a new key') or diag($@);
};

# as the relay says it
my ($maintain) = slurp(root . '/core/tables/statements.def') =~ /AEGIS_SQL\(MAINTAIN, 0, "(.*)"\)/;

subtest 'housekeeping holds nobody up' => sub {
    my ($g, $w, $reader) = map { $pg->connect(user => "aegis_$_") } qw(gateway worker reader);
    my $day = $pg->one(q{SELECT to_char((now() AT TIME ZONE 'UTC')::date + 3, 'YYYYMMDD')});
    $pg->do("DROP TABLE aegis.${_}_$day") for qw(outbox idempotency);

    # somebody reads for long, as pg_dump does, and the relay wants its partitions
    $reader->begin_work;
    $reader->do('SELECT 1 FROM aegis.idempotency LIMIT 1');
    $g->do(q{SET lock_timeout = '1s'});
    my $slowest = 0;
    my $create = sub {
        my $start = time();
        my ($r) = eval { Aegis::Sql::call($g, 'CASE_CREATE', { case_id => uuid, key => new_key() }) };
        $slowest = time() - $start if time() - $start > $slowest;
        return $r && $r->{code};
    };
    my ($made, $refused, %did) = (0, 0);
    for my $turn (1 .. 3) {
        $w->do($maintain, { pg_async => PG_ASYNC });
        while (!$w->pg_ready) {
            is($create->(), 'ok', 'a case is created in the middle of it') or last;
        }
        my $n = eval { $w->pg_result };
        defined $n ? $n > 0 ? $made++ : 0 : $refused++;
    }
    is($made, 1, 'the table that nobody holds got its partition');
    is($refused, 2, 'the one that is read was tried, and left for later');
    ok($pg->one('SELECT to_regclass(?)', "aegis.outbox_$day"), 'and what was made stays made');
    cmp_ok($slowest, '<', 1, 'no writer waited for long') or diag($slowest);
    $reader->rollback;
    1 while @{ $w->selectall_arrayref($maintain) };
    ok($pg->one('SELECT to_regclass(?)', "aegis.${_}_$day"), "afterwards $_ has its own") for qw(outbox idempotency);
    ok(!eval { $w->do("SELECT aegis.maintain($_)"); 1 }, "maintain($_) is refused") for '-1000', '3, 0', '3, 30, 0';
};

done_testing;
