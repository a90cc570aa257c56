# 80bench.t: the measuring tools can be believed: the load generator counts what
# the database has, notices each kind of wrong answer, and every pgbench shape
# does the work. Nothing here asserts how fast anything is.
use v5.36;
use lib 't/lib';
use Test::More;
use IO::Socket::INET;
use Aegis::Bench;
use Aegis::BenchGoals;
use Aegis::Test;

my $load = build_dir . '/t/bench/load';
plan skip_all => 'needs make tools' unless -x $load;

# --- wrong answers, from a server that gives them

my $ID = '01930000-0000-7000-8000-000000000001';
spew(my $tokens = scratch('w') . '/tokens', "secret\n");
spew(my $cases = scratch('w') . '/cases', "0 $ID NEW 1\n");

# One answer to the first request, then silence.
sub serve ($answer) {
    my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die $!;
    my $pid = fork // die;
    if ($pid == 0) {
        my $c = $s->accept;
        my $buf = '';
        1 while $buf !~ /\r\n\r\n.*\}\z/s && sysread $c, $buf, 4096, length $buf;
        syswrite $c, $answer;
        close $c if $answer eq '';
        sysread $c, $buf, 1 if $answer ne '';
        POSIX::_exit(0);
    }
    my $r = run([$load, '--port', $s->sockport, '--tokens', $tokens, '--cases', $cases, '--conns', 1, '--work', 'transition',
        '--phases', '1:0.5', '--timeout', 2], timeout => 20);
    kill 'KILL', $pid;
    waitpid $pid, 0;
    my $json = eval { json_decode($r->{out}) } // {};
    return { rc => $r->{rc}, %$json };
}
sub answer ($status, $etag, $body) {
    return "HTTP/1.1 $status X\r\nETag: \"$etag\"\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
sub body ($id, $state) { return qq({"case_id" : "$id", "status" : "$state"}) }

my $good = serve(answer(200, 2, body($ID, 'ANALYZING')));
is_deeply([ @$good{qw(rc ok wrong)} ], [ 0, 1, 0 ], 'the right answer is counted as good');
my $other = $ID =~ s/1$/2/r;
my %wrong = (
    'a 500' => answer(500, 2, body($ID, 'ANALYZING')), 'another case' => answer(200, 2, body($other, 'ANALYZING')),
    'another state' => answer(200, 2, body($ID, 'NEW')), 'a version that was left out' => answer(200, 3, body($ID, 'ANALYZING')),
    'a 503 that was not allowed' => answer(503, 2, '{}'),
);
for my $what (sort keys %wrong) {
    my $r = serve($wrong{$what});
    is_deeply([ @$r{qw(rc ok wrong)} ], [ 3, 0, 1 ], "$what is noticed") or diag(json_encode($r));
}
for ([ 'a connection cut short', '' ], [ 'an answer without a length', "HTTP/1.1 200 OK\r\n\r\n{}" ]) {
    my $r = serve($_->[1]);
    ok($r->{rc} eq '3' && $r->{ok} == 0 && $r->{closed} >= 1, "$_->[0] is noticed") or diag(json_encode($r));
}

# --- the loop's driver, with a gateway and a bus that say what they are told to

# Each case is created by one answer and told of by one message on the bus.
sub drive ($status, $ids, $total) {
    my ($web, $bus) = map { IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die $! } 1 .. 2;
    my $pid = fork // die;
    if ($pid == 0) {
        my $nats = $bus->accept;
        syswrite $nats, "INFO {}\r\n";
        my $in = '';
        1 while $in !~ /PING\r\n/ && sysread $nats, $in, 4096, length $in;
        syswrite $nats, "PONG\r\n";
        my $c = $web->accept;
        for my $id (@$ids) {
            my $buf = '';
            1 while $buf !~ /\r\n\r\n.*\}\z/s && sysread $c, $buf, 4096, length $buf;
            my ($head, $data) = ("NATS/1.0\r\nNats-Msg-Id: $id\r\n\r\n", json_encode({ data => { case_id => $id, to_status => $status } }));
            my $msg = "HMSG evt.case.transition.v1 1 " . length($head) . ' ' . (length($head) + length $data) . "\r\n$head$data\r\n";
            my $answer = "HTTP/1.1 201 Created\r\nContent-Length: " . length(qq({"case_id":"$id"})) . qq(\r\n\r\n{"case_id":"$id"});
            # in pieces, and the bus before the answer
            for my $part (substr($msg, 0, 20), substr $msg, 20) { syswrite $nats, $part; select undef, undef, undef, 0.01 }
            syswrite $c, $answer;
        }
        sysread $c, $in, 1;
        POSIX::_exit(0);
    }
    my $r = run([build_dir . '/t/bench/loop/loop', $web->sockport, 'nats://127.0.0.1:' . $bus->sockport, 'token', 'key', 1, $total], timeout => 20);
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return $r;
}
my @ids = map { $ID =~ s/1$/$_/r } 1 .. 3;
my $d = drive('CLOSED', \@ids, 3);
is($d->{rc}, 0, 'cases that are seen CLOSED end it') or diag($d->{err});
cmp_ok((eval { json_decode($d->{out}) } // {})->{cases_s} // 0, '>', 0, 'with its figures');
$d = drive('PARKED', \@ids, 3);
ok($d->{rc} == 1 && $d->{err} =~ /parked: .*$ids[0]/, 'one that is parked is said') or diag("$d->{rc} $d->{err}");
$d = drive('CLOSED', [ '' ], 1);
ok($d->{rc} == 1 && $d->{err} =~ /not a transition|not created/, 'and what is no case') or diag("$d->{rc} $d->{err}");

# --- against the product

my $b = Aegis::Bench->start(cases => 640, secs => 1, warm => 0, durable => 0);

for ([ 'plain', 0 ], [ 'TLS 1.3', 1 ]) {
    my ($name, $tls) = @$_;
    my $r = eval { $b->ours('transition', 4, $tls) };
    ok($r && $r->{n} > 0, "transitions over $name: each 2xx is a committed row, and the invariants hold") or diag($@);
}
my $r = eval { $b->ours('create', 4) };
ok($r && $r->{n} > 0, 'creations: the same') or diag($@);
cmp_ok($r->{group} // 0, '>=', 1, 'and how many shared a statement is known');
$r = eval { $b->ours('get', 4) };
ok($r && $r->{n} > 0, 'reads are of the right case') or diag($@);

$b->reset;
my $j = $b->load(port => $b->{plain}, work => 'transition', conns => 8, phases => '200:0.5,400:0.5', args => ['--if-match']);
is_deeply([ @$j{qw(wrong closed unanswered)} ], [ 0, 0, 0 ], 'the open loop with If-Match: all answered, and right');
is($j->{phases}[0]{ok} + $j->{phases}[1]{ok} <= $j->{ok}, 1, 'phases count no more than there was');
cmp_ok($b->probe('20:0.5')->()->{phases}[0]{ok}, '>', 0, 'the probe is answered');
ok(eval { $b->verify($j); 1 }, 'and each is a committed row') or diag($@);
ok(!eval { $b->verify({ %$j, ok => $j->{ok} + 1 }); 1 }, 'an answer more than there are rows is noticed');

for my $cell ([ 'transition', 'func' ], [ 'transition', 'lean' ], [ 'transition', 'cte' ], [ 'transition', 'seq' ], [ 'create', 'func' ],
    [ 'create', 'lean' ], [ 'create', 'seq' ], [ 'get', 'func' ], [ 'get', 'lean' ]) {
    my $r = eval { $b->pgbench(@$cell, 2) };
    ok($r && $r->{n} > 0, "pgbench @$cell commits a row for each transaction") or diag($@);
    next unless $r && $cell->[0] ne 'get';
    my @bad = map { my $i = $_; map { "$i " . json_encode($_) } @{ $b->{invariants}->rows_of($i) } } qw(I01 I02 I03 I04);
    is(scalar @bad, 0, 'and leaves a case as the gateway does') or diag($bad[0]);
}

# --- the goals

my %row = (work => 'transition', conns => 32, tls => \0, ours_rps => 100, p50_ms => 1, p99_ms => 2, pgbench_tps => 50, pgbench_best => 'x', peer_rps => 10,
    peer_best => 'x', of_limit => 2, x_peer => 10, nginx_us => 1, pg_us => 1, pgbench_mean_ms => 1, foreign_cores => 0);
is_deeply([ map { $_->[3] } Aegis::BenchGoals::verdicts([ \%row ], {}) ], [ ('met') x 4 ], 'goals that are met');
is((Aegis::BenchGoals::verdicts([ { %row, of_limit => 1.99 } ], {}))[0][3], 'MISSED', 'a goal that is missed');
like(Aegis::BenchGoals::table([ { %row, foreign_cores => 0.4 } ], {}), qr/0\.40 \* \|/, 'a run that was not alone is marked');

$b->stack->finish(no_openapi => 1);
done_testing;
