# 17races.t: what two sessions do to each other inside one statement. A session is
# held between its statement's snapshot and its row locks, the other one changes the
# row and commits, and then the first goes on: by what it sees now, or not at all.
use v5.36;
use lib 't/lib';
use DBD::Pg ':async';
use Test::More;
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

# Statement $id over @items, while $change happens to the case behind its snapshot.
sub across ($case, $change, $id, @items) {
    $dbh->do("SET test.held = '$case'");
    $gate->do('SELECT pg_advisory_lock(17)');
    my ($sql, @bind) = Aegis::Sql::text($id, @items);
    my $sth = $dbh->prepare($sql, { pg_async => PG_ASYNC, pg_server_prepare => 0 });
    $sth->execute(@bind);
    my $waits = wait_for("$id to be held", 30, sub {
        $pg->one(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 17 AND NOT granted})
    });
    $change->() if $waits;
    $gate->do('SELECT pg_advisory_unlock(17)');
    $dbh->pg_result;
    my @rows = @{ $sth->fetchall_arrayref({}) };
    $dbh->do('SET test.held = DEFAULT');
    return @rows;
}
sub count ($table, $case) { return $pg->one("SELECT count(*) FROM aegis.$table WHERE case_id = ?", $case) }

subtest 'a whole way, and a case that is touched under it' => sub {
    my $move = sub ($event, $from, $key) {
        return { event => $event, from => $from, actor => 'aegis:fsm', reason => '', correlation => '',
                 meta => {}, key => $key, subject => undef, data => undef, said => undef };
    };
    for my $t (['comes to rest', q{SELECT aegis.settle(interval '0', 10)}],
               ['is asked for again', q{UPDATE aegis.ops_case SET nudges = nudges + 1}],
               ['has moved', q{UPDATE aegis.ops_case SET status = 'PARKED', version = 2}]) {
        my $id = made();
        my %way = (case_id => $id, for_version => 1, doc => json_encode({ reason => '', then => 'ask', envelope => { event_id => uuid, for_version => 2,
            severity => 'info', kind => 'analysis', title => 't', summary => 's', labels => {} },
            moves => [ $move->('start_analysis', 'NEW', "$id:a"), $move->('analysis_done', 'ANALYZING', "$id:b") ] }));
        my ($r) = across($id, sub { $pg->do($t->[1]) }, 'WAY_COMMIT', \%way);
        is($r->{code}, 'again', "a case $t->[0]: it is to be decided again");
        is(count('case_timeline', $id), 1, 'and nothing was written of it');
        is(count('outbox', $id), 1, 'nor published');
        next if $t->[0] eq 'has moved';
        ($r) = Aegis::Sql::call($dbh, 'WAY_COMMIT', \%way);
        is($r->{code}, 'ok', 'then it goes its way');
        is(count('case_timeline', $id), 3, 'once');
    }
};

done_testing;
