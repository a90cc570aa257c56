# 26group.t: grouped commits are right. Many concurrent requests share few
# database connections and few statements, and yet each gets its own outcome; a
# bad one never fails its neighbours; requests of a case keep their order; a
# locked row stalls nobody else, waits are bounded, queues too; and a backend
# that is killed in the middle loses and doubles nothing.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;

sub patch ($id, $body, %more) {
    return { method => 'PATCH', path => "/case/$id/transition", json => $body,
             headers => ['Idempotency-Key', $more{key} // new_key(), $more{if_match} ? ('If-Match', $more{if_match}) : ()] };
}

sub new_case () { return Aegis::Case->create($http, mode => 'manual') }

# One nginx worker with one connection to write: the most crowded group there is.
# A lock is waited for 48 s (a fifth of aegis_timeout), so that what is held by a
# test stays held however slow the machine is.
sub narrow ($connections, $more = '') {
    return $stack->nginx_edit(sub ($conf) {
        $conf =~ s/^ *aegis_(?:connections|queue|timeout).*\n//mg;
        $conf =~ s/^worker_processes.*/worker_processes 1;/m or die;
        $conf =~ s/(http \{\n)/$1    aegis_connections $connections; aegis_timeout 240s; $more\n/ or die;
        return $conf;
    });
}

my $undo = narrow(1);
$http = $stack->http;

subtest 'each item of a group has its own outcome' => sub {
    my @good = map { new_case() } 1 .. 20;
    my @stale = map { new_case() } 1 .. 10;
    my @illegal = map { new_case() } 1 .. 10;
    my @done = map { my $c = new_case(); my $k = new_key(); [$c, $k, $c->say('force_park', key => $k)] } 1 .. 10;
    my (@req, @want);
    my $add = sub ($request, $check) { push @req, $request; push @want, $check };
    $add->(patch($_->id, { event => 'start_analysis' }), sub ($r) { $r->status == 200 && $r->json->{version} == 2 }) for @good;
    $add->(patch($_->id, { event => 'start_analysis' }, if_match => '"7"'), sub ($r) { $r->status == 412 }) for @stale;
    $add->(patch($_->id, { event => 'verify_pass' }), sub ($r) { $r->problem eq 'illegal-transition' }) for @illegal;
    for my $d (@done) {
        my $body = $d->[2]->body;
        $add->(patch($d->[0]->id, { event => 'force_park' }, key => $d->[1]),
            sub ($r) { $r->status == 200 && $r->body eq $body && ($r->header('idempotent-replayed') // '') eq 'true' });
        $add->(patch($d->[0]->id, { event => 'resume' }, key => $d->[1]), sub ($r) { $r->problem =~ /^idempotency-key-(reused|in-flight)$/ });
    }
    $add->(patch(uuid, { event => 'resume' }), sub ($r) { $r->status == 404 }) for 1 .. 10;
    $add->({ method => 'POST', path => '/case/create', json => { title => "crowd $_", mode => 'manual' }, headers => ['Idempotency-Key', new_key()] },
        sub ($r) { $r->status == 201 && $r->json->{title} =~ /^crowd \d+$/ }) for 1 .. 20;
    $add->({ method => 'GET', path => '/case/' . $_->id }, sub ($r) { $r->status == 200 && $r->json->{case_id} }) for @good;
    my @order = sort { $a->[0] <=> $b->[0] } map { [rand, $_] } 0 .. $#req;
    my @r = $http->crowd([ map { $req[ $_->[1] ] } @order ], connections => 64);
    my @bad = grep { !$want[ $order[$_][1] ]->($r[$_]) } 0 .. $#r;
    is(scalar @bad, 0, @req . ' different requests at once: each got what it asked for')
        or diag(map { json_encode($req[ $order[$_][1] ]) . ' -> ' . $r[$_]->brief . "\n" } @bad);
    is((grep { $_->version != 2 } @good), 0, 'each good one has taken effect once');
    is((grep { $_->version != 1 } @stale, @illegal), 0, 'and no refused one has');
    cmp_ok($stack->metric('gateway', 'aegis_db_group_size_count') // 0, '>', 0, 'groups were made');
};

# A request is in the worker's queue when the same worker has answered one that
# was sent later.
sub send_now ($request) {
    my $c = $http->with;
    my $s = $c->open_socket;
    my $bytes = $c->render($request->{method}, $request->{path}, %$request);
    while (length $bytes) { my $n = syswrite $s, $bytes; substr $bytes, 0, $n, '' if defined $n }
    $stack->http->get('/healthz') for 1 .. 2;
    return [$c, $s];
}

sub answer ($sent, $timeout = 20) {
    my ($c, $s) = @$sent;
    $c->{sock} = $s;
    return $c->raw('', timeout => $timeout);
}

sub hold ($id) {
    my $dbh = $pg->connect;
    $dbh->begin_work;
    $dbh->do('SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $id);
    return $dbh;
}

sub waits_for_lock ($n = 1) {
    return wait_for("$n statement to wait for the lock", 10, sub {
        $pg->one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway' AND wait_event_type = 'Lock'") >= $n;
    });
}

subtest 'requests of one case keep their order' => sub {
    my ($locked, $c) = (new_case(), new_case());
    my $lock = hold($locked->id);
    my $first = send_now(patch($locked->id, { event => 'force_park' }));
    ok(waits_for_lock(), 'the only connection is busy');
    my @sent = map { send_now(patch($c->id, { event => $_ % 2 ? 'force_park' : 'resume', expected_version => $_ })) } 1 .. 8;
    $lock->rollback;
    is(answer($first)->status, 200, 'when it is free');
    my @r = map { answer($_) } @sent;
    is_deeply([ map { $_->status } @r ], [ (200) x 8 ], 'eight transitions that build on each other all fit') or diag(map { $_->brief . "\n" } @r);
    is_deeply([ map { $_->json->{version} } @r ], [ 2 .. 9 ], 'in the order in which they came');
};

subtest 'a locked row within a group' => sub {
    my ($busy, $held, @c) = map { new_case() } 0 .. 9;
    my ($first_lock, $lock) = (hold($busy->id), hold($held->id));
    my $first = send_now(patch($busy->id, { event => 'force_park' }));
    waits_for_lock();
    # one group: four that are free, the locked one, four that are free
    my @sent = map { send_now(patch($_->id, { event => 'force_park' })) } @c[0 .. 3], $held, @c[4 .. 7];
    $first_lock->rollback;
    my ($in_the_middle) = splice @sent, 4, 1;
    my $began = time;
    my @r = map { answer($_) } @sent;
    is_deeply([ map { $_->status } @r ], [ (200) x 8 ], 'its eight neighbours are carried out while it is locked');
    cmp_ok(time - $began, '<', 6, 'and do not wait for it');
    is($pg->one('SELECT version FROM aegis.ops_case WHERE case_id = ?', $held->id), 1, 'it has not moved meanwhile');
    $lock->rollback;
    is(answer($in_the_middle)->status, 200, 'when the lock is gone it is carried out too');
    answer($first);
};

subtest 'a statement that fails takes no neighbour with it' => sub {
    $pg->do(q{CREATE FUNCTION public.t_boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.reason = 'boom' THEN RAISE EXCEPTION 'boom'; END IF; RETURN NEW; END $$});
    $pg->do('CREATE TRIGGER t_boom BEFORE INSERT ON aegis.case_timeline FOR EACH ROW EXECUTE FUNCTION public.t_boom()');
    my ($locked, @c) = map { new_case() } 0 .. 12;
    my $lock = hold($locked->id);
    my $first = send_now(patch($locked->id, { event => 'force_park' }));
    waits_for_lock();
    my @sent = map { send_now(patch($c[$_]->id, { event => 'force_park', reason => $_ == 5 ? 'boom' : 'fine' })) } 0 .. $#c;
    $lock->rollback;
    answer($first);
    my @r = map { answer($_) } @sent;
    is($r[5]->status, 500, 'the one that cannot be carried out gets 500') or diag($r[5]->brief);
    is($r[5]->problem, 'internal', 'as our fault');
    unlike($r[5]->body, qr/boom|P0001|plpgsql/i, 'without telling what PostgreSQL said');
    is_deeply([ map { $_->status } @r[0 .. 4, 6 .. 11] ], [ (200) x 11 ], 'its eleven neighbours get 200');
    is($c[5]->version, 1, 'its case is as it was');
    $pg->do('DROP TRIGGER t_boom ON aegis.case_timeline');
    $pg->do('DROP FUNCTION public.t_boom()');
    is($c[5]->say('force_park', reason => 'fine')->status, 200, 'and goes on when the cause is gone');
};

# The rows of a statement are there before its commit, and mean nothing when that
# fails. NOTIFY's lock fails so while a synchronous standby is away.
subtest 'a commit that fails is no success' => sub {
    $pg->do(q{CREATE FUNCTION public.t_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'refused at the commit' USING ERRCODE = 'lock_not_available'; END$$});
    $pg->do(q{CREATE CONSTRAINT TRIGGER t_refuse AFTER INSERT ON aegis.ops_case DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.title LIKE 't-refused%') EXECUTE FUNCTION public.t_refuse()});
    my @answers = $http->crowd([ map { { method => 'POST', path => '/case/create', headers => ['Idempotency-Key', new_key()],
        json => { title => ($_ % 2 ? 't-refused' : 't-taken') . " $$ $_", mode => 'manual' } } } 1 .. 12 ]);
    is_deeply([ map { $_->status } @answers[grep { $_ % 2 } 0 .. 11] ], [ (201) x 6 ], 'those that are committed are answered so');
    is_deeply([ map { $_->problem } @answers[grep { !($_ % 2) } 0 .. 11] ], [ ('busy') x 6 ], 'those whose commit fails are not');
    is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE title LIKE ?', "t-refused $$ %"), 0, 'and are not there');
    is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE title LIKE ?', "t-taken $$ %"), 6, 'as the others are');
    $pg->do('DROP TRIGGER t_refuse ON aegis.ops_case');
    $pg->do('DROP FUNCTION public.t_refuse()');
};

subtest 'the queue is bounded' => sub {
    my $again = narrow(1, 'aegis_queue 4;');
    $http = $stack->http;
    my $locked = new_case();
    my @c = map { new_case() } 1 .. 20;
    my $lock = hold($locked->id);
    my $first = send_now(patch($locked->id, { event => 'force_park' }));
    waits_for_lock();
    my @sent = map { send_now(patch($_->id, { event => 'force_park' })) } @c;
    my $last = answer(pop @sent);
    is($last->problem, 'overloaded', 'the last of 21 finds no room');
    is($http->with(token => undef)->write('PATCH', '/case/' . $locked->id . '/transition', { event => 'force_park' })->problem, 'overloaded',
        'while there is none nobody is asked who it is: a refusal has to be cheap');
    $lock->rollback;
    answer($first);
    my @r = ((map { answer($_) } @sent), $last);
    my @full = grep { $_->problem eq 'overloaded' } @r;
    cmp_ok(scalar @full, '>=', 10, 'what does not fit into the queue is told so: ' . @full);
    is((grep { $_->status != 503 || ($_->header('retry-after') // '') !~ /^\d+$/ } @full), 0, 'with 503 and Retry-After');
    is((grep { $_->status == 200 } @r) + @full, 20, 'the others are carried out');
    is((grep { my $i = $_; ($r[$i]->status == 200) != ($c[$i]->version == 2) } 0 .. 19), 0, 'exactly those that were told 200');
    $again->();
};
$undo->();
$http = $stack->http;

subtest 'a locked row stalls nobody else' => sub {
    my $one = narrow(2);
    $http = $stack->http;
    my ($locked, @c) = map { new_case() } 0 .. 40;
    my $lock = hold($locked->id);
    my @waiting = map { send_now(patch($locked->id, { event => 'force_park' })) } 1 .. 3;
    waits_for_lock();
    my @r = $http->crowd([ map { patch($_->id, { event => 'force_park' }) } @c ], connections => 20);
    is((grep { $_->status != 200 } @r), 0, '40 other cases are moved meanwhile') or diag(map { $_->brief . "\n" } grep { $_->status != 200 } @r);
    my @made = $http->crowd([ map { { method => 'POST', path => '/case/create', headers => ['Idempotency-Key', new_key()], json => { title => "stranger $_", mode => 'manual' } } } 1 .. 1000 ], connections => 20);
    is((grep { $_->status != 201 } @made), 0, 'a thousand are created: none shares anything with the locked one');
    ok(waits_for_lock(), 'while the requests for the locked one still wait');
    $lock->rollback;
    my @w = map { answer($_) } @waiting;
    is(scalar(grep { $_->status == 200 } @w), 1, 'when the lock is gone one of its three requests moves it') or diag(map { $_->brief . "\n" } @w);
    is(scalar(grep { $_->problem =~ /^(illegal-transition|busy)$/ } @w), 2, 'the others are told that it is parked already, or busy');
    $one->();
    $http = $stack->http;
};

subtest 'a wait for a lock ends' => sub {
    my $c = new_case();
    my $lock = hold($c->id);
    my $key = new_key();
    my $began = time;
    my $r = $c->say('force_park', key => $key);
    my $took = time - $began;
    is($r->status, 503, 'after a while the client is told');
    like($r->problem, qr/^(busy|deadline-exceeded)$/, 'that the case is busy');
    like($r->header('retry-after') // '', qr/^\d+$/, 'and when to come back');
    cmp_ok($took, '<', 8 * (is_san ? 2 : 1), sprintf('in bounded time (%.1f s)', $took));
    is($http->get('/healthz')->status, 200, 'the worker is alive all the time');
    $lock->rollback;
    my $again = wait_for('the retry to succeed', 10, sub { my $x = $c->say('force_park', key => $key); $x->status == 200 ? $x : undef });
    ok($again, 'the same request with the same key then succeeds');
    is($c->version, 2, 'once');
};

subtest 'a backend that is killed in the middle loses and doubles nothing' => sub {
    my $c = new_case();
    my $lock = hold($c->id);
    my $key = new_key();
    my $sent = send_now(patch($c->id, { event => 'force_park' }, key => $key));
    waits_for_lock();
    $pg->do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'aegis_gateway' AND wait_event_type = 'Lock'");
    $lock->rollback;
    my $r = answer($sent);
    ok($r->status == 200 || $r->status == 503, 'the client gets the answer, or 503: ' . $r->brief);
    like($r->header('retry-after') // '', qr/^\d+$/, 'with Retry-After') if $r->status == 503;
    my $again = wait_for('the retry to be answered', 15, sub { my $x = $c->say('force_park', key => $key); $x->status == 200 ? $x : undef });
    ok($again, 'the retry with the same key gets 200');
    is($c->version, 2, 'and the case has moved once');

    my $inv = Aegis::Invariants->new($pg->connect);
    my @c = map { new_case() } 1 .. 60;
    my @todo = map { my $x = $_; map { { id => $x->id, event => $_, key => new_key() } } qw(force_park) } @c;
    my ($kills, $until, $rounds) = (0, time + 60, 0);
    while (@todo && time < $until) {
        $rounds++;
        my $left = @todo;
        my @r = $http->crowd([ map { patch($_->{id}, { event => $_->{event} }, key => $_->{key}) } @todo ], connections => 30, each => sub ($i, $r) {
            $inv->client('default', $todo[$i]{key}, '/case/{id}/transition', $r) if $r->status;
            if (--$left % 15 == 0 && $rounds <= 3) {
                $kills += $pg->one("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'aegis_gateway'");
            }
        });
        my @odd = grep { $_->status !~ /^(200|503|409)$/ } @r;
        is(scalar @odd, 0, "round $rounds: only 200, 409 in flight and 503 are said") or diag(map { $_->brief . "\n" } @odd);
        @todo = map { $todo[$_] } grep { $r[$_]->status != 200 } 0 .. $#r;
    }
    cmp_ok($kills, '>', 3, "$kills backends were killed on the way");
    is(scalar @todo, 0, "every client got its 200 in the end (round $rounds)");
    is((grep { $_->version != 2 } @c), 0, 'and every case has moved exactly once');
    $inv->check(only => [qw(I01 I02 I03 I08 I09)]);
};

subtest 'a client that leaves' => sub {
    my $c = new_case();
    my $lock = hold($c->id);
    my $busy = send_now(patch($c->id, { event => 'force_park' }));
    waits_for_lock();
    my @gone = map { send_now(patch(new_case()->id, { event => 'force_park' })) } 1 .. 5;
    CORE::close($_->[1]) for @gone;
    $lock->rollback;
    my $r = answer($busy);
    is($r->status, 200, 'disturbs no other') or diag($r->brief);
    is($http->get('/healthz')->status, 200, 'nor the worker');
};

$stack->finish(allow => [qr/terminating connection|server closed the connection|connection to server was lost/]);
done_testing;
