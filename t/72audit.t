# 72audit.t: timelines and decisions are append-only for everybody, and sealed into a
# chain a tenant; whatever an owner does to them behind the triggers' back is found
# and named.
use v5.36;
use lib 't/lib';
use Digest::SHA ();
use JSON::PP ();
use Test::More;
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $gw = $pg->connect(user => 'aegis_gateway');
my $worker = $pg->connect(user => 'aegis_worker');
my $ctl = build_dir . '/aegisctl';

sub ctl (@args) { return run([$ctl, 'audit', @args, '-d', $pg->dsn], env => {san_env}) }
sub found (@args) {
    my $r = ctl('verify', '-o', 'json', @args);
    my $j = eval { JSON::PP::decode_json($r->{out}) } or return ["no JSON: $r->{out}$r->{err}"];
    is($r->{rc}, @{ $j->{findings} } ? 1 : 0, 'the exit code says so');
    return [ map { "$_->{tenant} $_->{where}: $_->{what}" } @{ $j->{findings} } ];
}
sub seal ($limit = 1000) { return $worker->selectall_arrayref('SELECT tenant, seq, tbl, n, root FROM aegis.audit_seal(?)', {}, $limit) }
sub case_of ($tenant) {
    my $id = uuid;
    my @r = Aegis::Sql::call($gw, 'CASE_CREATE', { case_id => $id, tenant => $tenant, mode => 'manual' });
    push @r, Aegis::Sql::call($gw, 'CASE_TRANSITION', { case_id => $id, tenant => $tenant, event => $_ }) for qw(start_analysis force_park start_analysis);
    die $_->{body} for grep { $_->{status} >= 300 } @r;
    $pg->do('INSERT INTO aegis.gate_decision (tenant, case_id, decision_id, plan_id, plan_hash, for_version, verdict, rule, reason, checks, policy_hash, created_by)
        VALUES (?, ?, gen_random_uuid(), gen_random_uuid(), ?, 1, ?, ?, ?, ?, ?, ?)', $tenant, $id, 'h', 'rejected', 'r', 'no', '[]', 'p', 'x');
    return $id;
}

# What sql does behind the triggers' back is undone afterwards.
sub tampered ($name, $sql, @want) {
    subtest $name => sub {
        my @tables = qw(ops_case case_timeline gate_decision audit_segment audit_leaf audit_cursor);
        $pg->do('SET session_replication_role = replica');
        $pg->do("CREATE TEMP TABLE was_$_ AS SELECT * FROM aegis.$_") for @tables;
        $pg->do($_) for ref $sql ? @$sql : $sql;
        is_deeply(found(), \@want, 'found and named') or diag(join "\n", @{ found() });
        for (@tables) {
            my $cols = $pg->one("SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'aegis.$_'::regclass AND attnum > 0
                AND NOT attisdropped AND attgenerated = ''");
            $pg->do("DELETE FROM aegis.$_");
            $pg->do("INSERT INTO aegis.$_ ($cols) SELECT $cols FROM was_$_");
            $pg->do("DROP TABLE was_$_");
        }
        $pg->do('SET session_replication_role = origin');
    };
}

my ($a, $b) = (case_of('acme'), case_of('zeta'));
$pg->do('SET session_replication_role = replica');
$pg->do('UPDATE aegis.case_timeline SET audit_xid = 0 WHERE case_id = ?', $a);      # as before the migration
$pg->do('SET session_replication_role = origin');
is_deeply(found(), [], 'nothing is sealed yet, and nothing wrong');

subtest 'sealing' => sub {
    my @s = map { @{ seal(3) } } 1 .. 6;
    is_deeply(seal(), [], 'until nothing is left');
    my %n;
    $n{"$_->[0] $_->[2]"} += $_->[3] for @s;
    is_deeply(\%n, { 'acme timeline' => 4, 'zeta timeline' => 4, 'acme decision' => 1, 'zeta decision' => 1 }, 'each row once');
    is_deeply([ map { $_->[1] } grep { $_->[0] eq 'acme' } @s ], [ 1 .. grep { $_->[0] eq 'acme' } @s ], 'a chain a tenant, without gaps');
    is_deeply(found(), [], 'and it verifies');
    my $open = $pg->connect;
    $open->begin_work;
    $open->do('SELECT pg_current_xact_id()');
    case_of('acme');
    is_deeply(seal(), [], 'while an older transaction is open nothing younger is sealed');
    $open->rollback;
    is(scalar @{ seal() }, 2, 'then it is');
    is_deeply(found(), [], 'and verifies');
};

subtest 'append-only for everybody' => sub {
    for my $who (qw(gateway worker migrator)) {
        my $db = $pg->connect(user => "aegis_$who");
        for my $sql ("UPDATE aegis.case_timeline SET reason = 'x'", 'DELETE FROM aegis.gate_decision', 'UPDATE aegis.audit_segment SET n = 1',
            'DELETE FROM aegis.audit_leaf', 'TRUNCATE aegis.case_timeline') {
            ok(!eval { $db->do($sql); 1 }, "$who: $sql");
            like($db->state, $who eq 'migrator' ? qr/^23001$/ : qr/^42501$/, 'is refused');
        }
    }
    ok(!eval { $gw->do(q{SELECT aegis.audit_seal(1)}); 1 }, 'the gateway does not seal');
};

my $roots = scratch() . '/roots';
spew($roots, ctl('root')->{out});
like(slurp($roots), qr/^acme \d+ [0-9a-f]{64}\nzeta \d+ [0-9a-f]{64}\n\z/, 'the roots, to be kept elsewhere');
is_deeply(found('--roots', $roots), [], 'they are in the chain');
my $at = sub ($case, $version) { sprintf '%s:%010d:%010d', $case, $version, 0 };
my ($seg) = $pg->one(q{SELECT seq FROM aegis.audit_leaf WHERE tenant = 'zeta' AND EXISTS (SELECT FROM unnest(keys) k WHERE k LIKE ?)}, '%/' . $at->($b, 2));
my $last = $pg->one(q{SELECT max(seq) FROM aegis.audit_segment WHERE tenant = 'zeta'});

tampered('a row that was changed', "UPDATE aegis.case_timeline SET reason = 'other' WHERE case_id = '$b' AND version = 2",
    "zeta timeline ${\$at->($b, 2)} of segment $seg: changed");
tampered('a decision that was changed', "UPDATE aegis.gate_decision SET verdict = 'approved' WHERE case_id = '$b'",
    map { "zeta decision $b:" . $pg->one('SELECT decision_id FROM aegis.gate_decision WHERE case_id = ?', $b) . " of segment $_: changed" }
        $pg->one(q{SELECT seq FROM aegis.audit_segment WHERE tenant = 'zeta' AND tbl = 'decision'}));
tampered('a row that is missing', "DELETE FROM aegis.case_timeline WHERE case_id = '$b' AND version = 2",
    "zeta timeline ${\$at->($b, 2)} of segment $seg: missing", "zeta case $b: its timeline has 3 of 4 versions");
tampered('a row that was moved', "UPDATE aegis.case_timeline SET audit_xid = audit_xid - 1 WHERE case_id = '$b' AND version = 2",
    "zeta timeline ${\$at->($b, 2)} of segment $seg: reordered", "zeta timeline ${\$at->($b, 2)}: reordered");
tampered('a row that was put in', "INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, to_status, actor, principal, audit_xid)
    SELECT tenant, case_id, 2, 0, kind, event, to_status, actor, principal, audit_xid FROM (SELECT t.*, row_number() OVER () AS n FROM aegis.case_timeline t WHERE false) x
    UNION ALL SELECT tenant, case_id, 2, 1, 'note', 'resume', 'NEW', 'x', 'x', audit_xid FROM aegis.case_timeline WHERE case_id = '$b' AND version = 2 AND seq = 0",
    sprintf('zeta timeline %s:%010d:%010d: inserted', $b, 2, 1), "zeta case $b: its timeline has 1 notes of 0");
tampered('a segment that is missing', ["DELETE FROM aegis.audit_segment WHERE tenant = 'zeta' AND seq = 1"],
    'zeta segment 2: the segments from 1 to 1 are missing before it',
    map { "zeta " . $pg->one(q{SELECT tbl FROM aegis.audit_segment WHERE tenant = 'zeta' AND seq = 1}) . " $_: inserted" } sort map { s{^\d+/}{}r } @{ $pg->one(q{SELECT keys FROM aegis.audit_leaf WHERE tenant = 'zeta' AND seq = 1}) });
tampered('a segment that was changed', "UPDATE aegis.audit_segment SET sealed_at = sealed_at - interval '1 day' WHERE tenant = 'zeta' AND seq = 1",
    'zeta segment 1: changed: its root is not that of its content');
tampered('a segment hashed anew', "UPDATE aegis.audit_segment s SET sealed_at = sealed_at - interval '1 day', root = aegis.audit_root(tenant, seq, tbl, n, last_xid, last_key,
    rows_hash, prev, sealed_at - interval '1 day') WHERE tenant = 'zeta' AND seq = 1", 'zeta segment 2: does not follow the one before it');
tampered('a list of rows in another order', "UPDATE aegis.audit_leaf SET hashes = sha256('x') || substr(hashes, 33) WHERE tenant = 'acme' AND seq = 1",
    map({ "acme segment 1: $_" } 'its list of rows was changed or put into another order'),
    "acme timeline ${\$at->($a, 1)} of segment 1: changed");
tampered('the tail of a case cut off before it was sealed', [
    "INSERT INTO aegis.ops_case (tenant, case_id, title, version) VALUES ('acme', '00000000-0000-4000-8000-000000000001', 'x', 3)",
    "INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status, actor, principal) VALUES ('acme', '00000000-0000-4000-8000-000000000001', 1, 'create', 'create', 'NEW', 'x', 'x')"],
    'acme case 00000000-0000-4000-8000-000000000001: its timeline ends at version 1, the case is at 3');
tampered('a trigger that was switched off', 'ALTER TABLE aegis.case_timeline DISABLE TRIGGER append_only',
    '* audit: the table case_timeline can be changed: its trigger append_only is switched off');
$pg->do('ALTER TABLE aegis.case_timeline ENABLE TRIGGER append_only');

subtest 'the end of the chain cut off, with all that it sealed' => sub {
    $pg->do('SET session_replication_role = replica');
    $pg->do("DELETE FROM aegis.$_ WHERE tenant = 'zeta'") for qw(audit_segment audit_leaf case_timeline gate_decision ops_case gate_vote);
    $pg->do('SET session_replication_role = origin');
    is_deeply(found('--tenant', 'zeta'), [], 'nothing that is left shows it');
    is_deeply(found('--roots', $roots), ["zeta segment $last: missing: its root was kept elsewhere"], 'but a root that was kept elsewhere does');
};

subtest 'rows that were retired' => sub {
    ok(!eval { $worker->do(q{SELECT aegis.audit_retire('acme', 'timeline', now())}); 1 }, 'not by a worker');
    my $owner = $pg->connect(user => 'aegis_migrator');
    my $upto = $pg->one(q{SELECT aegis.audit_retire('acme', 'timeline', now())});
    cmp_ok($owner->do(q{DELETE FROM aegis.case_timeline WHERE tenant = 'acme' AND audit_xid <= ?}, {}, $upto), '>', 0, 'the owner may delete them now');
    is_deeply([ grep { !/its case is missing/ } @{ found() } ], [], 'and the chain still verifies');
    is_deeply(found('--roots', $roots) // [], ["zeta segment $last: missing: its root was kept elsewhere"], 'up to the roots of before');
    my $c = case_of('acme');
    seal();
    ok(!eval { $owner->do('DELETE FROM aegis.case_timeline WHERE case_id = ?', {}, $c); 1 }, 'younger rows stay');
};

# The order of a segment's rows by Perl, their hashes by what is written in the page.
subtest 'rows that are hard to write, of transactions that overlap' => sub {
    seal();
    my @db = map { $pg->connect } 1 .. 3;
    my @nasty = ('', q{"}, q{\\}, q{", "}, "a\x{1}b\tc\nd\x7f", q{\u0001}, '/', "\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\xa8", q{'; --}, 'null', '[1, null]', ' x ');
    my ($n, %row) = (0);
    $_->begin_work for @db;
    $_->do('SELECT pg_current_xact_id()') for reverse @db;
    for my $i (1 .. 240) {
        my $text = sub { $nasty[ ($n++ * 7 + $i) % @nasty ] };
        my $meta = $i % 4 ? undef : qq({"b" : "\\u00e4 \\"", "a":[1.50,  null]});
        $db[ $i % 3 ]->do(q{INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status, to_status, rule, actor, principal, reason,
            correlation_id, trace_id, idem_key, meta, created_at) VALUES (?, gen_random_uuid(), ?, ?, 'note', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::timestamptz)}, undef,
            ($i % 5 ? q{o'"r\\} : $i % 2 ? 'acme' : "\xc3\xb6"), $i % 7 ? 1 : 1234567890, $i % 3, $text->(), ($i % 2 ? $text->() : undef), $text->(), ($i % 3 ? -$i : undef),
            (map { $text->() } 1 .. 6), $meta, ($i % 9 ? ('2026-02-28 23:59:59.9+05', '0044-03-15 BC', '0001-01-01 00:00:00.000001', '294276-12-31 12:00:00Z', '1999-12-31 23:59:59.99999')[ $i % 5 ] : '10000-01-01'));
    }
    $_->commit for @db;
    my %last = map { $_->{tenant} => $_ } @{ $pg->rows('SELECT DISTINCT ON (tenant) tenant, seq, root FROM aegis.audit_segment ORDER BY tenant, seq DESC') };
    my $sealed = seal();
    is_deeply([ sort map { $_->[0] } @$sealed ], [ sort 'acme', q{o'"r\\}, "\xc3\xb6" ], 'a segment a tenant');
    for my $s (@$sealed) {
        my ($tenant, $seq) = @$s;
        my $rows = $pg->dbh->selectall_arrayref(q{SELECT x.audit_xid || '/' || x.case_id || ':' || lpad(x.version::text, 10, '0') || ':' || lpad(x.seq::text, 10, '0'),
            encode(sha256(convert_to(json_build_array(x.tenant, x.case_id, x.version, x.seq, x.kind, x.event, x.from_status, x.to_status, x.rule, x.actor, x.principal, x.reason,
                x.correlation_id, x.trace_id, x.idem_key, x.meta::text, to_char(x.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'))::text, 'UTF8')), 'hex')
            FROM aegis.case_timeline x WHERE x.tenant = ? AND x.kind = 'note'}, undef, $tenant);
        my %at = map { (sprintf '%020d/%s', split m{/}, $_->[0], 2) => $_ } @$rows;
        my @want = @at{ sort keys %at };
        my $is = $pg->row(q{SELECT l.keys, encode(l.hashes, 'hex') AS hashes, s.n, s.last_xid, s.last_key, encode(s.rows_hash, 'hex') AS rows_hash, encode(s.prev, 'hex') AS prev
            FROM aegis.audit_leaf l JOIN aegis.audit_segment s USING (tenant, seq) WHERE l.tenant = ? AND l.seq = ?}, $tenant, $seq);
        is_deeply($is->{keys}, [ map { $_->[0] } @want ], 'in the order of transactions and keys');
        is($is->{hashes}, join('', map { $_->[1] } @want), 'each with its hash');
        is("$is->{n} $is->{last_xid}/$is->{last_key}", @want . " $want[-1][0]", 'and where the last of them stands');
        is($is->{rows_hash}, Digest::SHA::sha256_hex(pack 'H*', $is->{hashes}), 'their hash');
        is($is->{prev}, $last{$tenant} ? unpack('H*', $last{$tenant}{root}) : '0' x 64, 'behind the root before');
    }
    is_deeply([ grep { !/its case is missing|segment $last: missing/ } @{ found() } ], [], 'and the chain verifies');
};

subtest 'tenants do not see each other\'s chains' => sub {
    $gw->begin_work;
    $gw->do(q{SELECT set_config('aegis.tenants', ?, true)}, undef, "\x1fother\x1f");
    is($gw->selectrow_array("SELECT count(*) FROM aegis.$_"), 0, $_) for qw(audit_segment audit_leaf);
    $gw->rollback;
};

done_testing;
