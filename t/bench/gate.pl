# gate.pl: `make bench-gate`: how long the gatekeeper takes to decide, on an
# installation of its own with fsync, under a policy that has all kinds of rules:
# POST /gate/eval by one client and by 16 at once, a last voice of people, and the
# way of an automatic case: from the commit of plan_ready to the commit of the
# decision, through outbox, relay, bus and gate role, by the times of the commits, and
# how long the transaction that decides took of it. Writes run/bench-gate.json.
use v5.36;
use lib 't/lib';
use File::Path 'make_path';
use Time::HiRes 'time';
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

$| = 1;
my $N = $ENV{CASES} || 320;
my $CLIENTS = 16;
my $stack = Aegis::Stack->own('bench-gate', durable => 1, env => { PG_EXTRA_CONF => 'track_commit_timestamp = on' });
my ($http, $pg) = ($stack->http, $stack->pg);
my @rules = ('{id: envs, kind: environments, allow: [default, staging, prod]}', '{id: acts, kind: actions, allow: [echo, script.exec]}',
    '{id: who, kind: tenants, allow: [default]}', '{id: risk, kind: risk, max: 0.9}',
    '{id: often, kind: rate, max: 100000, window_s: 3600, per: service}',
    '{id: day, kind: window, from: "00:00", to: "24:00"}', '{id: ice, kind: freeze, from: "2020-12-20", to: "2021-01-03"}');

my $revision = 10;

sub unlimited () { return policy() =~ s/^.*kind: rate.*\n//mr }

sub policy (@more) { return "version: 1\ntimezone: Europe/Berlin\nrules:\n" . join '', map { "  - $_\n" } @rules, @more }

sub at_gate ($n) {
    return map { Aegis::Case->create($http, mode => 'manual', labels => { service => 'bench' })->drive('WAIT_GATE') } 1 .. $n;
}

# Each of n clients sends its share, one after the other; the seconds of each.
sub timed ($clients, $send, @cases) {
    my @pipes;
    for my $i (0 .. $clients - 1) {
        pipe my $in, my $out or die "pipe: $!";
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            my $mine = $http->with;
            $mine->get('/healthz');
            for my $k (grep { $_ % $clients == $i } 0 .. $#cases) {
                my $t = time;
                my $r = $send->($mine, $cases[$k]);
                print $out $r->status == 201 ? time - $t : 'failed: ' . $r->brief, "\n";
            }
            close $out;
            POSIX::_exit(0);
        }
        close $out;
        push @pipes, $in;
    }
    my @s = map { my $in = $_; map { chomp; /^[\d.e-]+$/ ? $_ : die "$_\n" } <$in> } @pipes;
    1 while wait != -1;
    return sort { $a <=> $b } @s;
}

my @out;
sub row ($what, @s) {
    die "$what: nothing was measured\n" unless @s;
    my $q = sub ($p) { sprintf '%.2f', 1000 * $s[ int($p * $#s + 0.5) ] };
    push @out, { what => $what, n => scalar @s, p50_ms => $q->(0.5), p99_ms => $q->(0.99), max_ms => $q->(1) };
}

my $eval = sub ($me, $c) { $me->write('POST', '/gate/eval', { case_id => $c->id }) };
$stack->policy(policy());
timed(1, $eval, at_gate(20));
row('POST /gate/eval, one client', timed(1, $eval, at_gate($N)));
row("POST /gate/eval, $CLIENTS at once, with a rate", timed($CLIENTS, $eval, at_gate($N)));
$stack->policy(unlimited());
row("POST /gate/eval, $CLIENTS at once, without", timed($CLIENTS, $eval, at_gate($N)));

$stack->policy(policy('{id: ask, kind: approval, approval: {need: 1, four_eyes: false}}'));
my @waiting = at_gate($N);
$_->{hash} = $_->post('/gate/eval')->json->{plan_hash} for @waiting;
row("POST /gate/approve, $CLIENTS at once", timed($CLIENTS, sub ($me, $c) {
    $me->write('POST', '/gate/approve', { case_id => $c->id, plan_hash => $c->{hash} }) }, @waiting));

for my $load ([1, 40, 'with a rate', policy()], [64, $N, 'with a rate', policy()], [64, $N, 'without', unlimited()]) {
    my ($at_once, $n, $how, $yaml) = @$load;
    $stack->policy("$yaml# $at_once $how\nvalid_s: " . ++$revision . "00\n");
    my $since = $pg->one('SELECT now()');
    if ($at_once == 1) { Aegis::Case->create($http)->wait_state('CLOSED') for 1 .. $n }
    else {
        my @r = $http->crowd([ map { { method => 'POST', path => '/case/create', json => { title => 'bench' }, headers => ['Idempotency-Key', new_key()] } } 1 .. $n ],
            connections => $at_once);
        wait_for('all cases to be closed', 120, sub { !$pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE created_at > ? AND status <> 'CLOSED'}, $since) });
    }
    my $s = $pg->dbh->selectall_arrayref(q{SELECT extract(epoch FROM x.decided - x.ready)::float8, extract(epoch FROM x.decided - x.began)::float8
        FROM (SELECT pg_xact_commit_timestamp(d.xmin) AS decided, pg_xact_commit_timestamp(t.xmin) AS ready, d.created_at AS began FROM aegis.gate_decision d
        JOIN aegis.case_timeline t ON t.tenant = d.tenant AND t.case_id = d.case_id AND t.version = d.for_version AND t.kind = 'transition'
        WHERE t.event = 'plan_ready' AND d.created_at > ?) x}, {}, $since);
    row("cmd.gate.eval, $at_once at once, $how", sort { $a <=> $b } map { $_->[0] } @$s);
    row('  of it the transaction that decides', sort { $a <=> $b } map { $_->[1] } @$s);
}

my $file = root . '/run/bench-gate.json';
make_path(root . '/run');
spew($file, json_encode(\@out) . "\n");
printf "%-46s %5s %9s %9s %9s\n", qw(what n p50_ms p99_ms max_ms);
printf "%-46s %5d %9s %9s %9s\n", @$_{qw(what n p50_ms p99_ms max_ms)} for @out;
