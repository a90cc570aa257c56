# 60reload.t: coming, going and falling over. nginx -t needs no database and
# says file and line; a reload under load loses no request and leaves no old
# worker and no connection behind; so does a stop; nginx comes up without a
# database and heals, and a restart of the database, orderly or not, heals too.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->own('reload', env => { NGX_WORKERS => 2 });
my $pg = $stack->pg;
my $run = $stack->run_dir;
my $http = $stack->http;
my $conns = sub { $pg->one(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway'}) };
my ($pg_bin) = sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin';

subtest 'nginx -t' => sub {
    my $conf = slurp("$run/nginx/nginx.conf");
    my $dead = $conf =~ s/hostaddr=127\.0\.0\.1 port=\d+/'hostaddr=127.0.0.1 port=' . free_port()/ger;
    isnt($dead, $conf, 'the database is pointed to where none is');
    my $began = time;
    my $r = $stack->nginx_t($dead);
    is($r->{rc}, 0, 'nginx -t is content without a database') or diag($r->{err});
    cmp_ok(time - $began, '<', 5 * (is_san ? 3 : 1), 'at once');
};

sub no_leftover ($what) {
    ok(wait_for('old workers to go', 30, sub { my @w = $stack->nginx_workers; @w == 2 && !grep { $_->{exiting} } @w }), "$what: no old worker is left");
    ok(wait_for('old connections to go', 15, sub { $conns->() <= 2 * 4 }), "$what: no old connection is left: " . $conns->());
}

subtest 'a reload under load loses nothing' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    my (@req, $reloads);
    for my $n (1 .. 400) {
        my @close = (Connection => 'close');
        push @req, $n % 3 == 0 ? { method => 'GET', path => '/case/' . $c->id, headers => [@close] }
            : { method => 'POST', path => '/case/create', json => { title => "load $n", mode => 'manual', tags => ['reload'] },
                headers => ['Idempotency-Key', "reload-$$-$n", @close] };
    }
    my ($answered, @r) = (0);
    @r = $http->crowd(\@req, connections => 16, timeout => 120, each => sub ($i, $r) {
        if (++$answered % 40 == 0 && ++$reloads <= 8) { $stack->nginx_reload(no_wait => 1) }
    });
    my @lost = grep { $_->status !~ /^20[01]$/ } @r;
    is(scalar @lost, 0, @r . " requests over $reloads reloads: every one is answered with success") or diag(map { $_->brief . "\n" } @lost);
    is($pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["reload"]'}), scalar(grep { $_->{method} eq 'POST' } @req), 'and has its effect, once');
    no_leftover('after it');
};

subtest 'a request that runs when the reload comes is finished' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    my $lock = $pg->connect;
    $lock->begin_work;
    $lock->do('SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $c->id);
    my $client = $http->with;
    my $s = $client->open_socket;
    my $bytes = $client->render('PATCH', '/case/' . $c->id . '/transition', json => { event => 'force_park' }, headers => ['Idempotency-Key', new_key()]);
    syswrite $s, $bytes;
    wait_for('it to wait for the lock', 10, sub { $pg->one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway' AND wait_event_type = 'Lock'") });
    my %old = map { $_->{pid} => 1 } $stack->nginx_workers;
    $stack->nginx_reload(no_wait => 1);
    ok(wait_for('new workers', 15, sub { grep { !$old{ $_->{pid} } } $stack->nginx_workers }), 'new workers are there');
    $lock->rollback;
    $client->{sock} = $s;
    is($client->raw('', timeout => 20)->status, 200, 'the old worker answers it');
    is($c->version, 2, 'and it took effect');
    no_leftover('then');
};

subtest 'a stop leaves nothing behind' => sub {
    my $master = $stack->pid('nginx');
    my @workers = map { $_->{pid} } $stack->nginx_workers;
    cmp_ok($conns->(), '>', 0, 'there are connections');
    kill 'QUIT', $master;
    ok(wait_for('nginx to end', 20, sub { !grep { alive($_) } $master, @workers }), 'master and workers are gone');
    ok(wait_for('its connections to end', 10, sub { $conns->() == 0 }), 'and so are their connections');
    $stack->_script('up');
    $stack->_read_env;
    $http = $stack->http;
    is($http->get('/readyz')->status, 200, 'up.sh brings it back');
    my @all = map { $_->{pid} } grep { $_->{pid} } map { { pid => $stack->pid($_) } } 'nginx', 'nats', map { ($_, "$_.sup") } $stack->roles;
    push @all, map { $_->{pid} } $stack->nginx_workers;
    $stack->_script('down');
    ok(wait_for('all of it to end', 20, sub { !grep { alive($_) } @all }), 'down.sh leaves none of ' . @all . ' processes');
    my @left = grep { (eval { slurp($_) } // '') =~ /\Q$run\E/ } glob '/proc/[0-9]*/cmdline';
    is_deeply(\@left, [], 'nothing that names the folder is left');
    $stack->_script('up');
    $stack->_read_env;
    $pg->disconnect;
    $http = $stack->http;
};

# PostgreSQL of the installation, by hand.
sub pg_ctl (@args) {
    run_ok([as_postgres("$pg_bin/pg_ctl", '-D', "$run/pg", '-w', '-l', "$run/log/postgres.log", @args)], cwd => '/');
    $pg->disconnect;
}

subtest 'nginx comes up without a database, and heals' => sub {
    kill 'QUIT', $stack->pid('nginx');
    wait_for('nginx to end', 20, sub { !$stack->pid('nginx') });
    pg_ctl('stop', '-m', 'fast');
    my @as = $> == 0 ? ('setpriv', '--reuid=nobody', '--regid=' . (getgrgid((getpwnam 'nobody')[3]))[0], '--clear-groups') : ();
    run_ok([@as, 'nginx', '-p', "$run/nginx", '-c', "$run/nginx/nginx.conf", '-e', "$run/log/nginx-error.log"], cwd => $run, env => { Aegis::Stack::preload() });
    ok(wait_for('nginx to answer', 15, sub { $http->get('/livez')->status == 200 }), 'it starts and is alive');
    is($http->get('/readyz')->status, 503, 'it is not ready, and says so');
    my $began = time;
    my @r = ($http->get('/case'), $http->write('POST', '/case/create', { title => 'x' }));
    for my $r (@r) {
        is($r->status, 503, 'a request is told 503');
        like($r->problem, qr/^(unavailable|overloaded|deadline-exceeded)$/, 'as unavailable');
        like($r->header('retry-after') // '', qr/^\d+$/, 'with Retry-After');
    }
    cmp_ok(time - $began, '<', 15, 'in bounded time');
    pg_ctl('start');
    ok(wait_for('readiness', 20, sub { $http->get('/readyz')->status == 200 }), 'when the database is there it becomes ready by itself');
    ok(wait_for('a case', 10, sub { $http->write('POST', '/case/create', { title => 'healed', mode => 'manual' })->status == 201 }), 'and serves');
};

for my $how ('fast', 'immediate') {
    subtest "a restart of the database ($how) heals" => sub {
        my $inv = Aegis::Invariants->new($pg->connect);
        my @todo = map { { method => 'POST', path => '/case/create', json => { title => "restart $_", mode => 'manual', tags => ["restart-$how"] },
            headers => ['Idempotency-Key', "restart-$how-$$-$_"], n => $_ } } 1 .. 120;
        my ($restarted, %kinds, @log) = (0);
        my $until = time + 90;
        while (@todo && time < $until) {
            my $done = 0;
            my @r = $http->crowd(\@todo, connections => 12, each => sub ($i, $r) {
                $kinds{ $r->status }++;
                push @log, [$todo[$i]{headers}[1], $r];
                if (++$done == 40 && !$restarted++) { $inv->{dbh}->disconnect; pg_ctl('restart', '-m', $how) }
            });
            @todo = map { $todo[$_] } grep { $r[$_]->status != 201 } 0 .. $#r;
        }
        ok($restarted, 'it was restarted in the middle');
        is(scalar @todo, 0, 'every client that retries gets its 201: ' . join(', ', map { "$kinds{$_} x $_" } sort keys %kinds));
        is_deeply([ grep { !/^(201|409|503|504)$/ } sort keys %kinds ], [], 'meanwhile only 409 in flight, 503 and 504 are said');
        is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', "restart-$how"), 120, 'each case is there once');
        $inv = Aegis::Invariants->new($pg->connect);
        $inv->client('default', $_->[0], '/case/create', $_->[1]) for grep { $_->[1]->status } @log;
        $inv->check(only => [qw(I01 I02 I04 I08 I09)]);
        my $c = Aegis::Case->create($http);
        ok($c->wait_state('CLOSED', 60), 'the workers have healed too: a case walks to CLOSED');
        ok(wait_for('no more connections than before', 15, sub { $conns->() <= 2 * 4 }), 'and no connection has leaked');
    };
}

subtest 'a database that does not answer' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    my @backends = map { $_->[0] } @{ $pg->dbh->selectall_arrayref(q{SELECT pid FROM pg_stat_activity WHERE usename = 'aegis_gateway'}) };
    kill 'STOP', @backends;
    my $key = new_key();
    my $began = time;
    my $r = $c->say('force_park', key => $key);
    my $took = time - $began;
    kill 'CONT', @backends;
    ok($r->status =~ /^50[34]$/, 'is not waited for for ever: ' . $r->brief);
    cmp_ok($took, '<', 12 * (is_san ? 2 : 1), sprintf('but %.1f s', $took));
    like($r->header('retry-after') // '', qr/^\d+$/, 'with Retry-After');
    ok(wait_for('the retry', 20, sub { $c->say('force_park', key => $key)->status == 200 }), 'the same request with the same key is answered then');
    is($c->version, 2, 'and has happened once');
};

subtest 'a sanitizer report would be seen' => sub {
    plan skip_all => 'this is not a sanitizer build' unless is_san;
    for my $victim (['a worker', sub { $stack->pid('analyst') }], ['nginx', sub { ($stack->nginx_workers)[0]{pid} }]) {
        my ($what, $pid) = @$victim;
        $stack->mark_logs;
        my $broken = $pid->();
        kill 'SEGV', $broken;
        ok(wait_for('the report', 20, sub { grep { /AddressSanitizer/ } $stack->complaints }), "$what that breaks is reported");
        wait_for('all of it to be written', 20, sub { !alive($broken) });
    }
    ok(wait_for('nginx to go on', 10, sub { $http->get('/livez')->status == 200 }), 'and is replaced');
    unlink glob "$run/log/asan-*";
    $stack->mark_logs;
};

$stack->finish(allow => [qr/terminating connection|starting up|shutting down|server closed|was terminated/]);
done_testing;
