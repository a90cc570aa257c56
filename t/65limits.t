# 65limits.t: a gateway at the end of what it has: connections, files, patience
# with slow clients, workers that are killed while they count. What is refused is
# refused at once, who is served already goes on being served, and all of it is
# over when its cause is. The counters outlive everything but a restart.
use v5.36;
use lib 't/lib';
use Test::More;
use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Http;
use Aegis::Nginx;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $pg = $stack->pg;
my $base = <<'END';
    aegis_zone          aegis:256k;
    aegis_database      "@DB@ application_name=@NAME@";
    aegis_keys          @RUN@/nginx/aegis_keys;
    aegis_openapi       @RUN@/conf/openapi.json;
    aegis_connections   1;
    aegis_read_connections 1;
END

sub gateway ($name, $server, %more) {
    my $http = ($more{http} // $base) . "    server { listen 127.0.0.1:\@P1\@ sndbuf=16k; location / { aegis on; }\n$server }\n";
    my $n = Aegis::Nginx->new(stack => $stack, name => $name, %more, http => $http =~ s/\@NAME\@/limits-$name/gr);
    $n->start;
    wait_for("$name to be ready", 20, sub { $n->http->get('/readyz')->status == 200 }) or BAIL_OUT("$name does not become ready");
    return $n;
}

# A client that has nearly no room for what it does not read.
sub deaf ($n) {
    socket my $s, Socket::PF_INET(), Socket::SOCK_STREAM(), 0 or die $!;
    setsockopt $s, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 4096;
    connect $s, Socket::pack_sockaddr_in($n->port, Socket::inet_aton('127.0.0.1')) or die $!;
    my $io = bless $s, 'IO::Socket::INET';
    $io->blocking(0);
    return $io;
}

sub plain ($n) {
    my $s = IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $n->port, Timeout => 5);
    $s->blocking(0) if $s;
    return $s;
}

# Has the server closed it? What it had to say before that is read away.
sub closed ($s) {
    while (1) {
        my $n = sysread $s, my $bytes, 65536;
        return 1 if defined $n && $n == 0 || !defined $n && !$!{EAGAIN};
        return 0 if !defined $n;
    }
}

sub value ($n, $metric, $labels = '') {
    my $text = $n->http->get('/metrics')->body;
    return $text =~ /^\Q$metric$labels\E (\S+)$/m ? $1 : undef;
}

# Sockets that take what there is. nginx closes idle connections first.
sub exhaust ($n, $what) {
    my $kept = $n->http;
    my $c = Aegis::Case->create($n->http, mode => 'manual');
    my $bytes = $kept->render('PATCH', '/case/' . $c->id . '/transition', json => { event => 'force_park' }, headers => ['Idempotency-Key', new_key()]);
    my $half = $kept->with(sock => undef);
    $half->{sock} = $half->open_socket;
    syswrite $half->{sock}, substr $bytes, 0, -2;
    is($kept->get('/healthz')->status, 200, 'a client keeps a connection, another is in the middle of a request');
    my @hold;
    my $refused = wait_for($what, 20, sub {
        push @hold, grep { $_ } map { plain($n) } 1 .. 10;
        syswrite $_, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: " for @hold[-10 .. -1];
        my $r = eval { $n->http(1, timeout => 1)->get('/healthz')->status } // 0;
        return $r != 200;
    });
    ok($refused, "$what: a new connection is not served, after " . @hold);
    is($half->raw(substr $bytes, -2)->status, 200, "$what: the request that was there is answered");
    return ($kept, \@hold);
}

sub over ($n, $hold, $what) {
    close $_ for @$hold;
    ok(wait_for('new connections', 20, sub { (eval { $n->http(1, timeout => 2)->get('/healthz')->status } // 0) == 200 }), "$what: when they go, others come in");
    ok(wait_for('a case', 20, sub { $n->http->write('POST', '/case/create', { title => 'over', mode => 'manual' })->status == 201 }), "$what: and write");
}

subtest 'worker_connections' => sub {
    my $n = gateway('conns', 'keepalive_timeout 60s;', events => 'worker_connections 24;');
    my ($kept, $hold) = exhaust($n, 'no connection left');
    over($n, $hold, 'no connection left');
    $n->finish(allow => [qr/worker_connections are not enough/]);
};

subtest 'open files' => sub {
    my $n = gateway('files', 'keepalive_timeout 60s;', main => 'worker_rlimit_nofile 40;', events => 'worker_connections 512;');
    my ($kept, $hold) = exhaust($n, 'no file left');
    # its database connections are cut as well, and cannot be opened again now
    $pg->one(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'limits-files'});
    my $more = plain($n);
    ok(wait_for('what is free to be taken', 20, sub { push @$hold, grep { $_ } map { plain($n) } 1 .. 4; (eval { $n->http(1, timeout => 1)->get('/healthz')->status } // 0) != 200 }), 'the files of lost database connections are taken by clients');
    is($kept->get('/healthz')->status, 200, 'no file left, no database: /healthz answers');
    my $r = $kept->get('/case?limit=1');
    ok($r->status == 503 || $r->status == 200, 'a request that needs the database is told so, or finds one: ' . $r->brief);
    over($n, [ @$hold, $more // () ], 'no file left');
    $n->finish(allow => [qr/Too many open files|worker_connections are not enough|no live|are available/]);
};

subtest 'slow clients' => sub {
    my $n = gateway('slow', 'client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s; keepalive_timeout 60s;', events => 'worker_connections 1024;');
    my (@slow, %kind);
    my $token = $stack->token;
    my $write = "POST /case/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\n"
        . "Idempotency-Key: %s\r\nContent-Length: 1000\r\n\r\n{";
    for my $i (1 .. 150) {
        push @slow, { what => 'header', s => plain($n), bytes => "GET /case HTTP/1.1\r\nHost: x\r\nX-" };
        push @slow, { what => 'body', s => plain($n), bytes => sprintf $write, new_key() } if $i <= 100;
        push @slow, { what => 'reader', s => deaf($n), bytes => "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" x 60 } if $i <= 20;
    }
    $kind{ $_->{what} }++ for @slow;
    syswrite $_->{s}, $_->{bytes} for @slow;
    my $c = Aegis::Case->create($n->http, mode => 'manual');
    my (%status, $rounds);
    my $left = wait_for('slow clients to be put out', 30, sub {
        # one byte each, now and then, as long as they are there; readers read nothing
        syswrite $_->{s}, 'a' for grep { $_->{what} ne 'reader' } @slow;
        my @r = $n->http->crowd([ (map { { method => 'GET', path => '/case/' . $c->id } } 1 .. 8), (map { { method => 'POST', path => '/case/create',
            json => { title => 'quick', mode => 'manual' }, headers => ['Idempotency-Key', new_key()] } } 1 .. 4) ], connections => 6);
        $status{ $_->status }++ for @r;
        $rounds++;
        @slow = grep { $_->{what} eq 'reader' || !closed($_->{s}) } @slow;
        return (grep { $_->{what} eq 'header' } @slow) ? undef : 1;
    });
    ok($left, "$kind{header} slow headers end, although a byte comes now and then");
    is_deeply([ sort keys %status ], [200, 201], "meanwhile every quick client is served: $rounds rounds, " . join(', ', map { "$status{$_} x $_" } sort keys %status));
    # a body that goes on coming is waited for: it is cut when it stops
    ok(wait_for('slow bodies to be put out', 20, sub { @slow = grep { $_->{what} eq 'reader' || !closed($_->{s}) } @slow; !grep { $_->{what} eq 'body' } @slow }), "$kind{body} bodies that stop coming end");
    my %held = map { $_->{s}->sockport => 1 } @slow;
    ok(wait_for('slow readers to be put out', 20, sub { (slurp('/proc/net/tcp') =~ s/^.*:(\w{4}) \w+:(\w{4}) 01 .*\n/hex($1) == $n->port && $held{ hex $2 } ? "HELD\n" : ''/mger) !~ /HELD/ }), "$kind{reader} clients that do not read end");
    is($pg->one('SELECT count(*) FROM pg_stat_activity WHERE application_name = ? AND state = ?', 'limits-slow', 'active'), 0, 'none of them has kept a statement running');
    $n->finish;
};

# What a client has not taken yet when the answer is made is sent later, whether a
# row or a file is the answer, and the next request on the connection waits.
subtest 'slow readers get all of it' => sub {
    my $n = gateway('readers', '');
    my $c = Aegis::Case->create($n->http, mode => 'manual', title => 'x' x 200, tags => ['readers'], reason => 'y' x 2000);
    Aegis::Case->create($n->http, mode => 'manual', title => "many $_", tags => ['readers'], reason => 'z' x 2000) for 1 .. 120;
    for my $path ('/openapi.json', '/case?limit=200&tag=readers', '/case?limit=120') {
        my $want = $n->http->get($path);
        is($want->status, 200, "GET $path");
        cmp_ok(length $want->body, '>', 100_000, 'is more than a socket takes at once');
        my $s = deaf($n);
        my $http = $n->http;
        syswrite $s, $http->render('GET', $path) . $http->render('GET', '/healthz', headers => [Connection => 'close']);
        my ($in, $taken, @r) = ('', 0);
        wait_for('the answers', 30, sub {
            # little by little
            for (1 .. 50) { last unless sysread $s, $in, 1500, length $in }
            while (my $r = Aegis::Http::_parse(\$in, 0, 0)) { push @r, $r }
            return @r == 2;
        });
        is(length($r[0] ? $r[0]->body : ''), length $want->body, 'a client that reads little by little gets its whole length');
        ok($r[0] && $r[0]->body eq $want->body, 'byte for byte');
        is($r[1] ? $r[1]->status : 0, 200, 'and then the answer to its next request');
    }
    $n->finish;
};

subtest 'clients that leave' => sub {
    my $n = gateway('leave', '');
    my $was = $pg->one('SELECT count(*) FROM aegis.ops_case WHERE title = ?', 'left');
    for my $i (1 .. 150) {
        my $s = plain($n) or next;
        my $bytes = $n->http->render('POST', '/case/create', json => { title => 'left', mode => 'manual' }, headers => ['Idempotency-Key', new_key()]);
        syswrite $s, substr $bytes, 0, $i % 3 ? length $bytes : length($bytes) - $i % 40 - 1;
        setsockopt $s, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack('ii', 1, 0) if $i % 2;     # RST
        shutdown $s, 1 if $i % 5 == 0;
        close $s;
    }
    is($n->http->get('/case?limit=1')->status, 200, 'after 150 that left in the middle the next is served');
    cmp_ok($pg->one('SELECT count(*) FROM aegis.ops_case WHERE title = ?', 'left') - $was, '<=', 100, 'none had more of an effect than it had asked for');
    ok(wait_for('the queue to be empty', 20, sub { value($n, 'aegis_queue_length') == 0 }), 'nothing is left in the queue');
    $n->finish;
};

subtest 'the shared zone' => sub {
    my $http = $base =~ s/256k/128k/r;
    my $n = gateway('zone', '', http => $http);
    my @labels = ('aegis_http_requests_total', '{route="/healthz",method="GET",code="200"}');
    $n->http->get('/healthz') for 1 .. 5;
    cmp_ok(value($n, @labels), '>=', 5, 'the smallest zone holds the counters');
    my $before = value($n, @labels);
    # killed in the middle of counting, again and again
    for my $round (1 .. 12) {
        my ($worker) = $n->workers;
        my @s = grep { $_ } map { plain($n) } 1 .. 6;
        syswrite $_, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" x 50 for @s;
        wait_for('it to count', 5, sub { closed($s[0]); 1 });
        kill 'KILL', $worker->{pid};
        wait_for('another worker', 10, sub { my ($w) = $n->workers; $w && $w->{pid} != $worker->{pid} });
        close $_ for @s;
    }
    ok(wait_for('it to answer', 10, sub { $n->http->get('/healthz')->status == 200 }), 'after 12 workers were killed while they counted, the next one counts');
    my $after = value($n, @labels);
    cmp_ok($after, '>', $before, "on from where they were: $before, $after");
    ok(wait_for('its database connections', 20, sub { (value($n, 'aegis_db_connections', '{state="idle"}') // 0) == 2 }), 'and the gauges are those of who lives');
    $n->reload;
    cmp_ok(value($n, @labels), '>=', $after, 'a reload keeps the counters');
    $n->reload($n->{http} =~ s/aegis:128k/aegis:1m/r);
    cmp_ok(value($n, @labels) // 0, '<', $after, 'one that changes the size begins anew');
    $n->finish(allow => [qr/exited on signal 9/]);
};

# Zones of nginx's own limits, and the tenants of aegis_quota: with no room left for
# another key each request still has its answer, and what is not counted is seen.
subtest 'zones that are full' => sub {
    my @tenant = map { [$_, "many-tenants-$_"] } 1 .. 4300;
    my $keys = $stack->run_dir . '/nginx/aegis_keys';
    my $http = $base =~ s/\@RUN\@\/nginx\/aegis_keys/\@DIR\@\/keys/r
        . "    limit_req_zone  \$http_x_rate zone=rate:32k rate=1r/m;\n    limit_conn_zone \$http_x_conn zone=conn:32k;\n"
        . "    limit_req_status 429;\n    limit_conn_status 429;\n    aegis_quota 1000 per=1d;\n";
    my $n = Aegis::Nginx->new(stack => $stack, name => 'full', events => 'worker_connections 2048;', http => ($http =~ s/\@NAME\@/limits-full/gr)
        . "    server { listen 127.0.0.1:\@P1\@; limit_req zone=rate; limit_conn conn 1; include \@RUN\@/conf/aegis_gateway.conf; }\n");
    $n->file('keys', slurp($keys) . join '', map { sha256_hex($_->[1]) . " t$_->[0] many case:read\n" } @tenant);
    $n->start;
    wait_for('full to be ready', 20, sub { $n->http->get('/readyz')->status == 200 }) or return fail('it does not become ready');

    my $ask = sub (@requests) { return $n->http->crowd(\@requests, connections => 8) };
    my @r = $ask->(map { { method => 'GET', path => '/healthz', headers => ['X-Rate', "somebody-$_"] } } 1 .. 3000);
    is((grep { $_->status == 200 } @r), 3000, 'limit_req: 3000 clients that its zone has no room for are answered, the oldest are forgotten');
    my @twice = $ask->(map { { method => 'GET', path => '/healthz', headers => ['X-Rate', 'somebody-3000'] } } 1);
    is($twice[0]->status, 429, 'of those that it knows it still refuses the second request');

    my $write = "POST /case/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . $stack->token . "\r\nContent-Type: application/json\r\nContent-Length: 100\r\nX-Conn: %s\r\n\r\n{";
    my @s = map { my $s = plain($n); syswrite $s, sprintf $write, "somebody-$_"; $s } 1 .. 800;
    my $conn = sub ($who) { return $n->http->get('/healthz', headers => ['X-Conn', $who]) };
    my $full = wait_for('the zone to be full', 20, sub { my $r = $conn->(new_key()); $r->status == 429 && $r });
    ok($full, 'limit_conn: with 800 requests under way there is no room for another key') or return $n->finish;
    is($full->problem, 'rate-limited', 'it is told so');
    ok($full->header('retry-after'), 'and when to ask again');
    is($n->http->get('/healthz')->status, 200, 'who has no key is served');
    close $_ for @s;
    ok(wait_for('room', 20, sub { $conn->(new_key())->status == 200 }), 'when they are gone there is room again');

    @r = $ask->(map { { method => 'GET', path => '/case?limit=0', headers => ['Authorization', "Bearer $_->[1]"] } } @tenant);
    is((grep { $_->status == 400 } @r), 4300, 'aegis_quota: 4300 tenants are all answered');
    my $silent = grep { !$_->header('ratelimit') } @r;
    cmp_ok($silent, '>=', 204, "more than its room of 4096: $silent are not counted");
    is(value($n, 'aegis_quota_uncounted_total'), $silent, 'and the metric says so');
    my ($i) = grep { $r[$_]->header('ratelimit') } 0 .. $#r;
    my ($again) = $ask->({ method => 'GET', path => '/case?limit=0', headers => ['Authorization', "Bearer $tenant[$i][1]"] });
    like($again->header('ratelimit'), qr/r=998;/, 'who has room goes on being counted');
    $n->finish(allow => [qr/no memory in limit_conn_zone/, qr/limiting (?:requests|connections)/]);
};

$stack->finish(no_openapi => 1);
done_testing;
