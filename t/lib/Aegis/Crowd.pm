# Aegis::Crowd: many cases at once on a whole installation, with a worker of each
# role (and an nginx worker) killed on the way, and every invariant held
# afterwards. 50crowd_nats.t and 51crowd_kafka.t differ only in the brokers.
# Invariant: a case that is not CLOSED in the end fails the suite. The one detour
# that is allowed is the product's own promise: a step that may not be repeated,
# and whose outcome a killed executor took with it, parks its case until a person
# says resume; each of these is counted and must say so.
package Aegis::Crowd;

use v5.36;
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Test;

# args: stack, cases, ledger => sub ($inv) that fills the bus ledger.
sub run_crowd (%o) {
    my ($stack, $n) = @o{qw(stack cases)};
    my $pg = $stack->pg;
    my $http = $stack->http;
    my $inv = Aegis::Invariants->new($pg->dbh);
    my $effects = $stack->effect_file;
    $stack->add_script('t-effect.sh', "#!/bin/sh\n# leaves one line for each time that it acts\n"
        . "printf '%s %s %s %s\\n' \"\$AEGIS_EXEC_ID\" \"\$AEGIS_PHASE\" \"\$AEGIS_STEP\" \"\$AEGIS_ATTEMPT\" >>$effects\n");

    # most say something, some run a script that may be repeated, some one that may not
    my @req = map { {
        method => 'POST', path => '/case/create',
        headers => ['Idempotency-Key', "crowd-$$-$_"],
        json => { title => "case $_ of the crowd", tags => ['crowd'], labels => { service => "s$_", env => 'staging',
            $_ % 8 == 0 ? (script => 't-effect.sh') : $_ % 8 == 4 ? (script => 't-effect.sh', retry_safe => 'true') : () } },
    } } 1 .. $n;
    my $began = time;

    # create them all at once; an nginx worker dies meanwhile; clients retry. The
    # planner is held up, so that something is left to do for those killed later
    kill 'STOP', $stack->pid('planner');
    my ($victim) = map { $_->{pid} } $stack->nginx_workers;
    my @todo = 0 .. $#req;
    my %id;
    my $killed_nginx = 0;
    for my $round (1 .. 20) {
        my @answers = $http->crowd([ @req[@todo] ], connections => 50, each => sub ($i, $r) {
            $inv->client('default', "crowd-$$-" . ($todo[$i] + 1), '/case/create', $r) if $r->status;
            $id{ $todo[$i] } = $r->json->{case_id} if $r->status == 201;
            if (!$killed_nginx && keys %id >= $n / 4) { kill 'KILL', $victim; $killed_nginx = 1 }
        });
        my @left = map { $todo[$_] } grep { $answers[$_]->status != 201 } 0 .. $#answers;
        @todo = @left or last;
    }
    is(scalar keys %id, $n, "$n cases are created at once");
    ok($killed_nginx, 'an nginx worker was killed meanwhile');

    # kill a worker of each role, spread over what is left to do
    my $moves = sub { $pg->one(q{SELECT count(*) FROM aegis.case_timeline WHERE kind = 'transition'}) };
    my $closed = sub { $pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status = 'CLOSED'}) };
    my $at = $moves->();
    kill 'CONT', $stack->pid('planner');
    my $step = (6 * $n - $at) / 9;
    my %old;
    for my $role (qw(relay fsm analyst planner gate exec verify)) {
        wait_for("more to be done before $role is killed", 60, sub { $moves->() >= $at }) or last;
        my ($done, $now) = ($closed->(), $moves->());
        $old{$role} = $stack->kill_worker($role);
        cmp_ok($done, '<', $n, "kill -9 of $role after $now transitions, with $done of $n cases closed");
        $at += $step;
    }
    is(scalar keys %old, 7, 'a worker of each role was killed on the way');

    # and they all come to the end
    my (%resumed, @parked);
    my $end = wait_for("$n cases to be closed", $o{timeout} // 120, sub {
        for my $c (@{ $pg->rows(q{SELECT case_id, version, reason FROM aegis.ops_case WHERE status = 'PARKED'}) }) {
            next if $resumed{"$c->{case_id} $c->{version}"}++;
            push @parked, $c->{reason};
            (bless { http => $http, id => $c->{case_id} }, 'Aegis::Case')->say('resume', reason => 'looked into by a person',
                key => "resume-$c->{case_id}-$c->{version}");
        }
        return $closed->() == $n;
    });
    ok($end, sprintf '%d cases are CLOSED after %.1f s', $n, time - $began)
        or diag(map { json_encode($_) . "\n" } @{ $pg->rows('SELECT status, count(*) AS n, max(reason) AS reason FROM aegis.ops_case GROUP BY 1') });
    my @odd = grep { !/unknown/i } @parked;
    is_deeply(\@odd, [], @parked . ' of them were parked for a step whose outcome was lost with its executor, and none for anything else');
    for my $role (sort keys %old) {
        my $pid = $stack->wait_worker($role, $old{$role});
        ok($pid, "$role is back");
    }
    ok($stack->quiet(60), 'everything is published and consumed');

    # the clients' retries: each key has one answer
    my @again = $http->crowd([ @req ], connections => 20);
    $inv->client('default', "crowd-$$-" . ($_ + 1), '/case/create', $again[$_]) for 0 .. $#again;
    is((grep { $_->status != 201 || ($_->header('idempotent-replayed') // '') ne 'true' } @again), 0, 'every creation, sent again, is answered as then');
    is((grep { $again[$_]->json->{case_id} ne $id{$_} } 0 .. $#again), 0, 'with the same case');

    $o{ledger}->($inv);
    $inv->effects(slurp($effects));
    cmp_ok($inv->{n}{t_bus} // 0, '>=', $n * 12, "the brokers hold $inv->{n}{t_bus} messages");
    cmp_ok($inv->{n}{t_effect} // 0, '>=', int($n / 8), "the scripts have acted $inv->{n}{t_effect} times");
    cmp_ok($inv->{n}{t_client} // 0, '>=', 2 * $n, "clients got $inv->{n}{t_client} answers");
    $inv->check;
    is($pg->one('SELECT count(*) FROM aegis.dead_letter'), 0, 'no message became a dead letter');
    is($pg->one(q{SELECT count(*) FROM aegis.exec_run WHERE state IN ('QUEUED', 'RUNNING')}), 0, 'no run is left open');
}

1;
