# 76patroni.t: the two databases of deploy/ha under Patroni, on hosts that are network
# namespaces: the primary is killed, is cut off, the standby goes, while clients write.
# Patroni promotes, fences and rejoins; each acknowledged write is there, and no part
# of ours is restarted. Then the same with an asynchronous standby, which shows what
# that loses. Only `make ha-test` runs it: minutes.
use v5.36;
use lib 't/lib';
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use Aegis::Test;
use Aegis::HaLoad;
use Aegis::HaPatroni;
use Aegis::Invariants;

plan skip_all => 'minutes: make ha-test' unless $ENV{AEGIS_T_HA};
if (my $why = Aegis::HaPatroni->available) { plan skip_all => $why }

my $ha = Aegis::HaPatroni->new;
my @load;

sub pids () { return { map { $_ => $ha->{proc}{$_}{pid} } grep { /^(nginx|workers)/ } keys %{ $ha->{proc} } } }
sub other ($host) { return $host eq 'db-a' ? 'db-b' : 'db-a' }

# Which keys were acknowledged, and are not there.
sub lost ($load) {
    my %there = map { $_->{idem_key} => 1 } @{ $ha->pg($ha->leader)->rows('SELECT idem_key FROM aegis.case_timeline WHERE idem_key LIKE ?', "$load->{tag}-%") };
    my %acked = map { $_->{key} => 1 } grep { defined $_->{key} && $_->{status} =~ /^20[01]$/ } $load->ledger;
    return (scalar keys %acked, [ sort grep { !$there{$_} } keys %acked ]);
}

# Load, code in the middle of it that returns how long the database itself needed.
sub under_load ($name, $code, %opt) {
    my $before = pids;
    my $load = Aegis::HaLoad->start(http => $ha->http, tag => $name, clients => 6);
    push @load, $load;
    wait_for('the load to run', 60, sub { $load->writes > 100 });
    my $t = time;
    my $recovery = $code->($load);
    my $n = $load->writes;
    ok(wait_for('writes to go on', 120, sub { $load->writes > $n + 100 }), 'writes go on');
    $load->stop;
    my $gap = $load->gap($t, time);
    if (my $at = delete $ha->{primary_at}) {
        # what Patroni and PostgreSQL take of it, and what is ours
        my ($first) = sort { $a <=> $b } map { $_->{t1} } grep { defined $_->{key} && $_->{status} =~ /^20[01]$/ && $_->{t1} > $at - 1 } $load->ledger;
        my $key = delete $ha->{key_at};
        diag sprintf '%s: after %.1f s Patroni took the leader\'s key, after %.1f s there was a primary, %.2f s later the first write was acknowledged',
            $name, $key - $t, $at - $t, $first - $at;
        cmp_ok($first - $at, '<=', 2, sprintf 'acknowledged %.2f s after there was a primary', $first - $at) if $ENV{AEGIS_HA_TIMED};
    }
    cmp_ok($gap, '<=', $recovery + 2, sprintf 'the longest gap is %.2f s, of them %.2f s recovery', $gap, $recovery) if $ENV{AEGIS_HA_TIMED};
    diag sprintf '%s: longest gap %.1f s, recovery %.1f s, %d attempts, %d not answered, %d told 503 or 504', $name, $gap, $recovery,
        $load->count(sub { 1 }), $load->count(sub { !$_->{status} }), $load->count(sub { $_->{status} =~ /^50[34]/ });
    is_deeply(pids, $before, 'neither gateways nor workers were restarted');
    return $load if $opt{async};
    my ($acked, $lost) = lost($load);
    is_deeply($lost, [], "$acked writes were acknowledged, each is there");
    my @bad = $load->bad;
    is(scalar @bad, 0, 'every request ends as it should') or diag(json_encode($bad[0]));
    return $load;
}

sub promoted ($old) {
    my $t = time;
    ok(wait_for('the other one to be the primary', 90, sub { my $p = $ha->_says(other($old), 'SELECT (NOT pg_is_in_recovery())::int'); $p }),
        sprintf '%s is promoted', other($old));
    $ha->{primary_at} = time;
    my ($day, $s, $ms) = slurp("$ha->{dir}/log/patroni-" . other($old) . '.log')
        =~ /.*^(\S+) (\S+),(\d+) INFO: promoted self to leader by acquiring session lock/ms;
    $ha->{key_at} = defined $day ? POSIX::mktime((reverse split /:/, $s), (split /-/, $day)[2], (split /-/, $day)[1] - 1, (split /-/, $day)[0] - 1900) + $ms / 1000 : $t;
    return $ha->{primary_at} - $t;
}

subtest 'the primary is killed, Patroni and all' => sub {
    my $old = $ha->leader;
    under_load('killed', sub ($load) { $ha->kill_db($old); return promoted($old) });
    $ha->start_patroni($old);
    ok($ha->joined, "$old comes back as the synchronous standby, by itself");
    is($ha->leader, other($old), 'and takes nothing away');
};

# Which is heard again at different moments: while it stops, while it starts, later.
my @heard = (0, 4, 1, 8, 2, 0.5, 12, 3);
for my $n (1 .. $ENV{AEGIS_HA_CUTS} // 2) {
    my $after = $heard[($n - 1) % @heard];
    subtest "the primary is cut off, and lives: heard again $after s after the other's promotion ($n)" => sub {
        my $old = $ha->leader;
        under_load("cut$n", sub ($load) {
            $ha->unplug($old);
            my $took = promoted($old);
            my $n = $load->writes;
            ok(wait_for('the new one to acknowledge', 60, sub { $load->writes > $n + 10 }), 'which acknowledges writes');
            my $until = time + $after;
            wait_for('the moment', 60, sub { time >= $until });
            $ha->plug($old);
            ok(wait_for('it to step down', 60, sub { !$ha->_says($old, 'SELECT (NOT pg_is_in_recovery())::int') }), 'heard again it is none');
            return $took;
        });
        ok($ha->joined, 'then the standby');
        is($ha->leader, other($old), 'of the one that was promoted');
    };
}

subtest 'the standby is killed' => sub {
    my $standby = other($ha->leader);
    under_load('alone', sub ($load) {
        my $t = time;
        $ha->kill_db($standby);
        my $n = $load->writes;
        ok(wait_for('writes', 90, sub { $load->writes > $n + 20 }), 'the primary goes on alone');
        return time - $t;
    });
    $ha->start_patroni($standby);
    ok($ha->joined, 'commits wait for it again');
};

subtest 'all of it together' => sub {
    my $pg = $ha->pg($ha->leader);
    my $auto = q{SELECT count(*) FROM aegis.ops_case WHERE mode = 'auto' AND status NOT IN ('CLOSED', 'PARKED')};
    ok(wait_for('the workers to finish', 180, sub { $pg->one($auto) == 0 }), 'every case of the workers has come to its end');
    ok(wait_for('the outbox to be empty', 60, sub { $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL') == 0 }), 'everything is published');
    my $inv = Aegis::Invariants->new($pg->connect);
    $_->settle($inv) for @load;
    $inv->bus_nats($ha->nats(1));
    $inv->check;
};

subtest 'an asynchronous standby' => sub {
    my $old = $ha->leader;
    $ha->patronictl($old, 'edit-config', '--force', '-s', 'synchronous_mode=false');
    ok(wait_for('commits to wait for nobody', 60, sub { $ha->_says($old, q{SELECT (current_setting('synchronous_standby_names') = '')::int}) }), 'commits wait for nobody');
    my $load = under_load('async', sub ($load) {
        # apart, so that nothing of it waits in a socket of the standby
        $ha->cut($old, other($old));
        my $n = $load->writes;
        wait_for('writes that it does not have', 60, sub { $load->writes > $n + 30 });
        $ha->kill_db($old);
        return promoted($old);
    }, async => 1);
    my ($acked, $lost) = lost($load);
    cmp_ok(scalar @$lost, '>', 0, "$acked writes were acknowledged, " . @$lost . ' of them are lost: this is what the synchronous standby is for');
};

done_testing;
